//! What there is to count, by the names and in the order in which Linux 6.18 prints them.

/// One of a group of counters.
pub(crate) trait Counted: Copy {
    /// The names of the group.
    const NAMES: &'static [&'static str];

    /// Which one it is.
    fn place(self) -> usize;
}

macro_rules! groups {
    ($($(#[$doc:meta])* $of:ident { $($name:ident,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[allow(dead_code, reason = "what never happens here is listed all the same")]
        pub(crate) enum $of { $($name,)* }

        impl Counted for $of {
            const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            fn place(self) -> usize {
                self as usize
            }
        }
    )*};
}

groups! {
    /// `Ip` group of `snmp`, behind what are settings.
    Ip {
        InReceives, InHdrErrors, InAddrErrors, ForwDatagrams, InUnknownProtos, InDiscards, InDelivers, OutRequests,
        OutDiscards, OutNoRoutes, ReasmTimeout, ReasmReqds, ReasmOKs, ReasmFails, FragOKs, FragFails, FragCreates,
        OutTransmits,
    }
    /// `IpExt` group of `netstat`.
    IpExt {
        InNoRoutes, InTruncatedPkts, InMcastPkts, OutMcastPkts, InBcastPkts, OutBcastPkts, InOctets, OutOctets,
        InMcastOctets, OutMcastOctets, InBcastOctets, OutBcastOctets, InCsumErrors, InNoECTPkts, InECT1Pkts,
        InECT0Pkts, InCEPkts, ReasmOverlaps,
    }
    /// `Icmp` group of `snmp`, but messages of each type.
    Icmp {
        InMsgs, InErrors, InCsumErrors, OutMsgs, OutErrors, OutRateLimitGlobal, OutRateLimitHost,
    }
    /// `Tcp` group of `snmp`, behind what are settings.
    Tcp {
        ActiveOpens, PassiveOpens, AttemptFails, EstabResets, CurrEstab, InSegs, OutSegs, RetransSegs, InErrs,
        OutRsts, InCsumErrors,
    }
    /// `TcpExt` group of `netstat`.
    TcpExt {
        SyncookiesSent, SyncookiesRecv, SyncookiesFailed, EmbryonicRsts, PruneCalled, RcvPruned, OfoPruned,
        OutOfWindowIcmps, LockDroppedIcmps, ArpFilter, TW, TWRecycled, TWKilled, PAWSActive, PAWSEstab, BeyondWindow,
        TSEcrRejected, PAWSOldAck, PAWSTimewait, DelayedACKs, DelayedACKLocked, DelayedACKLost, ListenOverflows,
        ListenDrops, TCPHPHits, TCPPureAcks, TCPHPAcks, TCPRenoRecovery, TCPSackRecovery, TCPSACKReneging,
        TCPSACKReorder, TCPRenoReorder, TCPTSReorder, TCPFullUndo, TCPPartialUndo, TCPDSACKUndo, TCPLossUndo,
        TCPLostRetransmit, TCPRenoFailures, TCPSackFailures, TCPLossFailures, TCPFastRetrans, TCPSlowStartRetrans,
        TCPTimeouts, TCPLossProbes, TCPLossProbeRecovery, TCPRenoRecoveryFail, TCPSackRecoveryFail, TCPRcvCollapsed,
        TCPBacklogCoalesce, TCPDSACKOldSent, TCPDSACKOfoSent, TCPDSACKRecv, TCPDSACKOfoRecv, TCPAbortOnData,
        TCPAbortOnClose, TCPAbortOnMemory, TCPAbortOnTimeout, TCPAbortOnLinger, TCPAbortFailed, TCPMemoryPressures,
        TCPMemoryPressuresChrono, TCPSACKDiscard, TCPDSACKIgnoredOld, TCPDSACKIgnoredNoUndo, TCPSpuriousRTOs,
        TCPMD5NotFound, TCPMD5Unexpected, TCPMD5Failure, TCPSackShifted, TCPSackMerged, TCPSackShiftFallback,
        TCPBacklogDrop, PFMemallocDrop, TCPMinTTLDrop, TCPDeferAcceptDrop, IPReversePathFilter, TCPTimeWaitOverflow,
        TCPReqQFullDoCookies, TCPReqQFullDrop, TCPRetransFail, TCPRcvCoalesce, TCPOFOQueue, TCPOFODrop, TCPOFOMerge,
        TCPChallengeACK, TCPSYNChallenge, TCPFastOpenActive, TCPFastOpenActiveFail, TCPFastOpenPassive,
        TCPFastOpenPassiveFail, TCPFastOpenListenOverflow, TCPFastOpenCookieReqd, TCPFastOpenBlackhole,
        TCPSpuriousRtxHostQueues, BusyPollRxPackets, TCPAutoCorking, TCPFromZeroWindowAdv, TCPToZeroWindowAdv,
        TCPWantZeroWindowAdv, TCPSynRetrans, TCPOrigDataSent, TCPHystartTrainDetect, TCPHystartTrainCwnd,
        TCPHystartDelayDetect, TCPHystartDelayCwnd, TCPACKSkippedSynRecv, TCPACKSkippedPAWS, TCPACKSkippedSeq,
        TCPACKSkippedFinWait2, TCPACKSkippedTimeWait, TCPACKSkippedChallenge, TCPWinProbe, TCPKeepAlive, TCPMTUPFail,
        TCPMTUPSuccess, TCPDelivered, TCPDeliveredCE, TCPAckCompressed, TCPZeroWindowDrop, TCPRcvQDrop,
        TCPWqueueTooBig, TCPFastOpenPassiveAltKey, TcpTimeoutRehash, TcpDuplicateDataRehash, TCPDSACKRecvSegs,
        TCPDSACKIgnoredDubious, TCPMigrateReqSuccess, TCPMigrateReqFailure, TCPPLBRehash, TCPAORequired, TCPAOBad,
        TCPAOKeyNotFound, TCPAOGood, TCPAODroppedIcmps,
    }
    /// `Udp` and `UdpLite` groups of `snmp`, and those of `snmp6`.
    Udp {
        InDatagrams, NoPorts, InErrors, OutDatagrams, RcvbufErrors, SndbufErrors, InCsumErrors, IgnoredMulti,
        MemErrors,
    }
    /// First group of `snmp6`, of a namespace and of a device.
    Ip6 {
        InReceives, InHdrErrors, InTooBigErrors, InNoRoutes, InAddrErrors, InUnknownProtos, InTruncatedPkts,
        InDiscards, InDelivers, OutForwDatagrams, OutRequests, OutDiscards, OutNoRoutes, ReasmTimeout, ReasmReqds,
        ReasmOKs, ReasmFails, FragOKs, FragFails, FragCreates, InMcastPkts, OutMcastPkts, InOctets, OutOctets,
        InMcastOctets, OutMcastOctets, InBcastOctets, OutBcastOctets, InNoECTPkts, InECT1Pkts, InECT0Pkts, InCEPkts,
        OutTransmits,
    }
    /// Second group of `snmp6`, of a namespace and of a device; the last is a namespace's only.
    Icmp6 {
        InMsgs, InErrors, OutMsgs, OutErrors, InCsumErrors, OutRateLimitHost,
    }
}
