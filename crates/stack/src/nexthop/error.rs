//! Why a change of nexthop objects is refused.

use crate::fib::{RouteError, refusals};
use crate::inet6::RouteError6;

refusals! {
    /// Why a change of nexthop objects is refused.
    NexthopError {
        Family = EINVAL, "Invalid address family";
        GroupFamily = EINVAL, "Invalid family for group";
        Length = EINVAL, "Invalid length for nexthop group attribute";
        Reserved = EINVAL, "Reserved field in nexthop_grp must be 0";
        Twice = EINVAL, "Nexthop id can not be used twice in a group";
        OtherAttributes = EINVAL, "No other attributes can be set in nexthop groups";
        GroupType = EINVAL, "Invalid group type";
        InvalidId = EINVAL, "Invalid nexthop id";
        MpathInGroup = EINVAL, "Hash-threshold group can not be a nexthop within a group";
        ResilientInGroup = EINVAL, "Resilient group can not be a nexthop within a group";
        BlackholeInGroup = EINVAL, "Blackhole nexthop can not be used in a group with more than 1 path";
        BlackholeOfGroup = EINVAL, "Blackhole nexthop can not be a member of a group with more than one path";
        FdbGroup = EINVAL, "FDB nexthop group can only have fdb nexthops";
        FdbGroupFamilies = EINVAL, "FDB nexthop group cannot have mixed family nexthops";
        NotFdbGroup = EINVAL, "Non FDB nexthop group cannot have fdb nexthops";
        NoBuckets = EINVAL, "Number of buckets not specified for nexthop group insertion";
        ZeroBuckets = EINVAL, "Number of buckets needs to be non-0";
        BucketsChange = EINVAL, "Can not change number of buckets of a resilient nexthop group";
        Blackhole = EINVAL, "Blackhole attribute can not be used with gateway, oif, encap or fdb";
        Fdb = EINVAL, "Fdb attribute can not be used with encap, oif or blackhole";
        NoDevice = EINVAL, "Device attribute required for non-blackhole and non-fdb nexthops";
        Device = EINVAL, "Invalid device index";
        DeviceDown = ENETDOWN, "Nexthop device is not up";
        LoopbackDown = ENETDOWN, "Device for nexthop is not up";
        Disabled = EACCES, "IPv6 is disabled on nexthop device";
        NoCarrier = ENETDOWN, "Carrier for nexthop device is down";
        Gateway = EINVAL, "Invalid gateway";
        Onlink = EINVAL, "ONLINK flag can not be set for nexthop without a gateway";
        UnreachableGateway = ENETUNREACH, "Nexthop has invalid gateway";
        GatewayType = EINVAL, "Nexthop has invalid gateway";
        GatewayAddress = EINVAL, "Invalid gateway address";
        LocalGateway = EINVAL, "Gateway can not be a local address";
        LoopbackEgress = EINVAL, "Egress device can not be loopback device for this route.";
        GroupByHop = EINVAL, "Can not replace a nexthop group with a nexthop.";
        HopByGroup = EINVAL, "Can not replace a nexthop with a nexthop group.";
        OtherType = EINVAL, "Can not replace a nexthop group with one of a different type.";
        Inet6Routes = EINVAL, "IPv6 routes can not use an IPv4 nexthop";
        FdbRoutes = EINVAL, "Route cannot point to a fdb nexthop";
        FdbStatus = EINVAL, "Cannot change nexthop FDB status while in a group";
        NoEntry = ENOENT, "Replace specified without create and no entry exists";
        HostScopeMultipath = EINVAL, "Route with host scope can not have multiple nexthops";
        HostScopeGateway = EINVAL, "Route with host scope can not have a gateway";
    }
    unsaid {
        NoRoute = EHOSTUNREACH, "no route to the gateway";
        NoInet6 = ENODEV, "the device does not do IPv6";
        Exists = EEXIST, "the id is taken";
        NotFound = ENOENT, "no such nexthop";
        Full = ENOSPC, "no id is left";
        NoSuchNamespace = ENODEV, "the namespace is not one of this system";
    }
}

impl From<RouteError6> for NexthopError {
    /// What is wrong with an IPv6 way out, or with one for IPv6 routes.
    fn from(error: RouteError6) -> Self {
        match error {
            RouteError6::BadGateway => Self::GatewayAddress,
            RouteError6::LocalGateway => Self::LocalGateway,
            RouteError6::LoopbackEgress => Self::LoopbackEgress,
            RouteError6::DeviceDown => Self::DeviceDown,
            RouteError6::NotInet6Nexthop => Self::Inet6Routes,
            RouteError6::FdbNexthop => Self::FdbRoutes,
            RouteError6::Disabled => Self::Disabled,
            RouteError6::NoDevice => Self::NoInet6,
            _ => Self::NoRoute,
        }
    }
}

impl From<RouteError> for NexthopError {
    /// What the checks of ways out that routes share with objects say.
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::FdbNexthop => Self::FdbRoutes,
            RouteError::BadGatewayType => Self::GatewayType,
            RouteError::HopDeviceDown | RouteError::GatewayDown | RouteError::DeviceDown => Self::DeviceDown,
            RouteError::HostScopeMultipath => Self::HostScopeMultipath,
            RouteError::HostScopeGateway => Self::HostScopeGateway,
            RouteError::NoSuchDevice => Self::Device,
            _ => Self::UnreachableGateway,
        }
    }
}
