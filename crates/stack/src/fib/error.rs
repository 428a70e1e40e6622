//! Why a change of routes, rules or nexthops is refused.

use crate::errno;
use crate::inet6::RouteError6;

/// Declares an error whose every case has an errno and, where Linux says one, the sentence that goes with it in the
/// extended ack. A case marked `unsaid` has a sentence for people only.
macro_rules! refusals {
    ($(#[$meta:meta])* $name:ident { $($(#[$said_meta:meta])* $said:ident = $errno:ident, $text:literal;)* }
     unsaid { $($(#[$unsaid_meta:meta])* $unsaid:ident = $quiet:ident, $display:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = $text] #[error($text)] $said,)*
            $(#[doc = $display] #[error($display)] $unsaid,)*
        }

        impl $name {
            /// The errno Linux answers with.
            #[must_use]
            pub const fn errno(self) -> i32 {
                match self {
                    $(Self::$said => crate::errno::$errno,)*
                    $(Self::$unsaid => crate::errno::$quiet,)*
                }
            }

            /// What Linux says in the extended ack; `None` where it says nothing.
            #[must_use]
            pub const fn text(self) -> Option<&'static str> {
                match self {
                    $(Self::$said => Some($text),)*
                    $(Self::$unsaid => None,)*
                }
            }
        }
    };
}

pub(crate) use refusals;

refusals! {
    /// Why a change of IPv4 routes is refused.
    RouteError {
        InvalidType = EINVAL, "Invalid route type";
        InvalidScope = EINVAL, "Invalid scope";
        DeadFlags = EINVAL, "Invalid rtm_flags - can not contain DEAD or LINKDOWN";
        NoSuchNexthop = EINVAL, "Nexthop id does not exist";
        FdbNexthop = EINVAL, "Route cannot point to a fdb nexthop";
        HopDeadFlags = EINVAL, "Invalid flags for nexthop - can not contain DEAD or LINKDOWN";
        HopFlags = EINVAL, "Invalid flags for nexthop - PERVASIVE and ONLINK can not be set";
        OifMismatch = EINVAL, "Nexthop device index does not match RTA_OIF";
        GatewayMismatch = EINVAL, "Nexthop gateway does not match RTA_GATEWAY or RTA_VIA";
        FlowMismatch = EINVAL, "Nexthop class id does not match RTA_FLOW";
        ErrorWithHops = EINVAL, "Gateway, device and multipath can not be specified for this route type";
        HostScopeMultipath = EINVAL, "Route with host scope can not have multiple nexthops";
        HostScopeGateway = EINVAL, "Route with host scope can not have a gateway";
        BadGateway = ENETUNREACH, "Nexthop has invalid gateway";
        BadGatewayType = EINVAL, "Nexthop has invalid gateway";
        GatewayAddress = EINVAL, "Invalid gateway address";
        LocalGateway = EINVAL, "Gateway can not be a local address";
        LoopbackEgress = EINVAL, "Egress device can not be loopback device for this route.";
        Inet6Disabled = EACCES, "IPv6 is disabled on nexthop device";
        OnlinkScope = EINVAL, "Nexthop has invalid scope";
        OnlinkDevice = ENODEV, "Nexthop device required for onlink";
        HopDeviceDown = ENETDOWN, "Nexthop device is not up";
        DeviceDown = ENETDOWN, "Device for nexthop is not up";
        NoEgress = EINVAL, "Egress device not specified";
        BadPrefsrc = EINVAL, "Invalid prefsrc address";
        NoSuchTable = ESRCH, "FIB table does not exist";
        MetricType = EINVAL, "Invalid metric type";
        UnknownCongctl = EINVAL, "Unknown tcp congestion algorithm";
        UnknownFeature = EINVAL, "Unknown flag set in feature mask in metrics attribute";
    }
    unsaid {
        NoSuchDevice = ENODEV, "no such device, or none was named";
        GatewayDown = ENETDOWN, "the device of the gateway is not up";
        NoRouteToGateway = EHOSTUNREACH, "no route to the gateway";
        Exists = EEXIST, "the route exists";
        NotFound = ENOENT, "no such route to change";
        NoSuchRoute = ESRCH, "no such route";
        NoSuchNamespace = ENODEV, "the namespace is not one of this system";
    }
}

impl From<RouteError6> for RouteError {
    /// What is wrong with an IPv6 router.
    fn from(error: RouteError6) -> Self {
        match error {
            RouteError6::BadGateway => Self::GatewayAddress,
            RouteError6::LocalGateway => Self::LocalGateway,
            RouteError6::LoopbackEgress => Self::LoopbackEgress,
            RouteError6::OnlinkNeedsDevice => Self::OnlinkDevice,
            RouteError6::NoEgress => Self::NoEgress,
            RouteError6::DeviceDown => Self::HopDeviceDown,
            RouteError6::Disabled => Self::Inet6Disabled,
            RouteError6::NoDevice => Self::NoSuchDevice,
            _ => Self::NoRouteToGateway,
        }
    }
}

/// The errno a route of that `RTN_*` type answers a lookup with; `None` for those that lead somewhere.
pub(crate) const fn type_errno(kind: u8) -> Option<i32> {
    match kind {
        6 | 11 => Some(errno::EINVAL),
        7 => Some(errno::EHOSTUNREACH),
        8 => Some(errno::EACCES),
        _ => None,
    }
}
