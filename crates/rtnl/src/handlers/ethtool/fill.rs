//! Answers about a device.

use pernet_stack::{
    ETH_SS_FEATURES, ETH_SS_LINK_MODES, ETH_SS_MSG_CLASSES, ETH_SS_SOF_TIMESTAMPING, EthChannels, EthFeaturesChange,
    Link, eth_names,
};
use pernet_wire::{Attr, Builder, Errno, ExtAck};

use super::bitset::Bits;
use super::*;

fn head(out: &mut Builder, command: u8, link: Option<&Link>) {
    out.put_raw(&[command, 1, 0, 0]);
    if let Some(link) = link {
        out.nest_flagged(HEADER, |header| {
            header.put_u32(HEADER_DEV_INDEX, link.index()).put_str(HEADER_DEV_NAME, link.name().as_str());
        });
    }
}

fn set(number: u32, values: u64, mask: Option<u64>, compact: bool) -> Bits<'static> {
    let names = eth_names(number).unwrap_or_default();
    Bits { size: names.len() as u32, values, mask, names, compact }
}

fn refuse(ext: &mut ExtAck, text: &'static str) -> Errno {
    ext.set_msg(text);
    Errno::EOPNOTSUPP
}

/// What a command of the asking sort answers for a device.
pub(super) fn about(
    out: &mut Builder,
    request: &Request<'_>,
    command: u8,
    link: &Link,
    compact: bool,
    ext: &mut ExtAck,
) -> Result<(), Errno> {
    const NO_SETTINGS: &str = "failed to retrieve link settings";
    match command {
        LINKINFO_GET => {
            let settings = link.eth_settings().ok_or_else(|| refuse(ext, NO_SETTINGS))?;
            head(out, LINKINFO_GET, Some(link));
            out.put_u8(2, settings.port).put_u8(3, 0).put_u8(4, 0).put_u8(5, 0).put_u8(6, 0);
        }
        LINKMODES_GET => {
            let settings = link.eth_settings().ok_or_else(|| refuse(ext, NO_SETTINGS))?;
            head(out, LINKMODES_GET, Some(link));
            out.put_u8(2, 0);
            set(ETH_SS_LINK_MODES, 0, Some(0), compact).put(out, 3);
            out.put_u32(5, settings.speed).put_u8(6, settings.duplex).put_u8(10, 0);
        }
        LINKSTATE_GET => {
            head(out, LINKSTATE_GET, Some(link));
            if let Some(up) = link.eth_link() {
                out.put_u8(2, up.into());
            }
        }
        DEBUG_GET if link.class().kind == Some("tun") => {
            head(out, DEBUG_GET, Some(link));
            set(ETH_SS_MSG_CLASSES, 0, None, compact).put(out, 2);
        }
        FEATURES_GET => {
            let features = request.stack().eth_features(request.net, link);
            head(out, FEATURES_GET, Some(link));
            set(ETH_SS_FEATURES, features.hw, Some(u64::MAX), compact).put(out, 2);
            for (ty, bits) in [(3, features.wanted), (4, features.active), (5, features.nochange)] {
                set(ETH_SS_FEATURES, bits, None, compact).put(out, ty);
            }
        }
        CHANNELS_GET => {
            const REPLY: u8 = 18;
            match link.eth_channels().ok_or(Errno::EOPNOTSUPP)? {
                EthChannels::Apart { rx_max, tx_max, rx, tx } => {
                    head(out, REPLY, Some(link));
                    out.put_u32(2, rx_max).put_u32(6, rx).put_u32(3, tx_max).put_u32(7, tx);
                }
                EthChannels::Combined { max, now } => {
                    head(out, REPLY, Some(link));
                    out.put_u32(5, max).put_u32(9, now);
                }
            }
        }
        COALESCE_GET if link.class().kind == Some("tun") => {
            const REPLY: u8 = 20;
            head(out, REPLY, Some(link));
            out.put_u32(3, 0);
        }
        TSINFO_GET => {
            const REPLY: u8 = 26;
            head(out, REPLY, Some(link));
            set(ETH_SS_SOF_TIMESTAMPING, link.eth_timestamping().into(), None, compact).put(out, 2);
        }
        PHC_VCLOCKS_GET => head(out, PHC_VCLOCKS_GET + 1, Some(link)),
        MODULE_GET => head(out, MODULE_GET + 1, Some(link)),
        TUNNEL_INFO_GET => return Err(refuse(ext, "device does not report tunnel offload info")),
        PSE_GET => return Err(refuse(ext, "No PHY found")),
        MODULE_EEPROM_GET => return Err(Errno::EINVAL),
        _ => return Err(Errno::EOPNOTSUPP),
    }
    Ok(())
}

/// What a change of features came to: of what was asked, what is not so; and what is other than before.
pub(super) fn features_changed(
    out: &mut Builder,
    link: &Link,
    mask: u64,
    values: u64,
    done: &EthFeaturesChange,
    compact: bool,
) {
    head(out, FEATURES_SET, Some(link));
    let missed = (values ^ done.after.active) & mask;
    set(ETH_SS_FEATURES, values & missed, Some(missed), compact).put(out, 3);
    let changed = done.before.active ^ done.after.active;
    set(ETH_SS_FEATURES, done.after.active & changed, Some(changed), compact).put(out, 4);
}

/// Sets of names.
pub(super) fn strings(out: &mut Builder, asked: &Asked<'_>, ext: &mut ExtAck) -> Result<(), Errno> {
    const SETS: u16 = 2;
    const COUNTS_ONLY: u16 = 3;
    /// Known sets are numbered below this.
    const KNOWN: u32 = 23;
    /// The set that only some devices have, and those that none has here.
    const STATS: u32 = 1;
    let counts_only = asked.get(COUNTS_ONLY).is_some();
    let mut wanted: Vec<(u32, Vec<String>)> = Vec::new();
    let stats = || asked.link.as_ref().map(|l| l.eth_counters().into_iter().map(|c| c.0).collect::<Vec<_>>());
    let global = |number| eth_names(number).map(|names| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    if let Some(sets) = asked.get(SETS) {
        for one in sets.nested() {
            let Some(id) = one.nested().find(|a: &Attr<'_>| a.ty == 1) else {
                return Err(Errno::EINVAL);
            };
            let number = id.u32().unwrap_or(u32::MAX);
            let names = match number {
                KNOWN.. => {
                    ext.set_msg_attr("unknown string set id", &id);
                    return Err(Errno::EOPNOTSUPP);
                }
                0 | STATS | 2 | 7 if asked.link.is_none() => {
                    ext.set_msg("requested per device strings without dev");
                    return Err(Errno::EINVAL);
                }
                STATS => stats().unwrap_or_default(),
                number => global(number).unwrap_or_default(),
            };
            wanted.push((number, names));
        }
    } else if asked.link.is_some() {
        wanted.push((STATS, stats().unwrap_or_default()));
    } else {
        wanted.extend((0..KNOWN).filter_map(|number| Some((number, global(number)?))));
    }
    head(out, STRSET_GET, asked.link.as_deref());
    out.nest_flagged(SETS, |sets| {
        for (number, names) in wanted.into_iter().filter(|(_, names)| !names.is_empty()) {
            sets.nest_flagged(1, |one| {
                one.put_u32(1, number).put_u32(2, names.len() as u32);
                if counts_only {
                    return;
                }
                one.nest_flagged(3, |strings| {
                    for (index, name) in (0..).zip(&names) {
                        strings.nest_flagged(1, |string| {
                            string.put_u32(1, index).put_str(2, name);
                        });
                    }
                });
            });
        }
    });
    Ok(())
}
