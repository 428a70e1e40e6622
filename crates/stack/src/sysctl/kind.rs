//! What may be written to a setting, and how it then reads.

use super::SysctlError;

/// How a setting is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One number between two.
    Int(i64, i64),
    /// Seconds that are kept in ticks: what is too long for that is refused.
    Seconds,
    /// Milliseconds, kept in ticks of four.
    Millis,
    /// Hundredths of a second, likewise.
    Hundredths,
    /// Ticks.
    Ticks,
    /// Any number, of which it is kept whether it is zero.
    Truth,
    /// So many numbers between two; who writes fewer leaves the rest.
    Ints(usize, i64, i64),
    /// A number not below another setting's.
    AtLeast(&'static str),
    /// A number not above another setting's.
    AtMost(&'static str),
    /// First and last local port.
    PortRange,
    /// First and last group; an empty range is kept as `1 0`.
    GroupRange,
    /// A list of numbers and ranges below the limit.
    Bits(u32),
    /// One of these words; others are `ENOENT`.
    OneOf(&'static [&'static str]),
    /// Keys of TCP Fast Open: four groups of eight digits, once or twice.
    Key,
    /// A mask of processors.
    Cpus,
    /// May be switched on, never off.
    Once,
    /// Anything may be written, nothing is kept.
    Action,
    /// Cannot be written.
    Fixed,
}

pub(super) const INT: Kind = Kind::Int(i32::MIN as i64, i32::MAX as i64);
pub(super) const COUNT: Kind = Kind::Int(0, i32::MAX as i64);
pub(super) const BOOL: Kind = Kind::Int(0, 1);
pub(super) const BYTE: Kind = Kind::Int(0, 255);

/// Ticks in a second.
const HZ: i64 = 250;

/// The numbers at the start of what was written, at most `max`: decimal, octal with a leading 0, hexadecimal with 0x.
///
/// # Errors
/// `EINVAL` if one is no number or out of the 64 bits; also if there is none.
pub(super) fn numbers(text: &[u8], max: usize) -> Result<Vec<i128>, SysctlError> {
    let text = std::str::from_utf8(text).map_err(|_| SysctlError::Invalid)?;
    let mut rest = text.trim_start_matches(blank);
    let mut out = Vec::new();
    while out.len() < max && !rest.is_empty() {
        let end = rest.find(blank).unwrap_or(rest.len());
        out.push(number(&rest[..end])?);
        rest = rest[end..].trim_start_matches(blank);
    }
    if out.is_empty() && !text.is_empty() { Err(SysctlError::Invalid) } else { Ok(out) }
}

const fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

fn number(word: &str) -> Result<i128, SysctlError> {
    let (negative, digits) = word.strip_prefix('-').map_or((false, word), |rest| (true, rest));
    let (radix, digits) = match digits {
        d if d.starts_with("0x") || d.starts_with("0X") => (16, &d[2..]),
        d if d.len() > 1 && d.starts_with('0') => (8, &d[1..]),
        d => (10, d),
    };
    // The library would take a sign here.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return Err(SysctlError::Invalid);
    }
    let value = u64::from_str_radix(digits, radix).map_err(|_| SysctlError::Invalid)?;
    Ok(if negative { -i128::from(value) } else { i128::from(value) })
}

fn within(value: i128, min: i64, max: i64) -> Result<i64, SysctlError> {
    let value = i64::try_from(value).map_err(|_| SysctlError::Invalid)?;
    if (min..=max).contains(&value) { Ok(value) } else { Err(SysctlError::Invalid) }
}

/// A single number as its setting keeps it; `None` if nothing was written. Times become milliseconds.
pub(super) fn one(kind: Kind, text: &[u8]) -> Result<Option<i64>, SysctlError> {
    let Some(value) = numbers(text, 1)?.first().copied() else { return Ok(None) };
    let longest = i64::from(i32::MAX) / HZ;
    // What is longer than an int of ticks wraps, as Linux lets it.
    let low = |value: i128| i64::from((value as u64 & 0xffff_ffff) as u32 as i32);
    Ok(Some(match kind {
        Kind::Int(min, max) => within(value, min, max)?,
        Kind::Truth => i64::from(within(value, i32::MIN.into(), i32::MAX.into())? != 0),
        Kind::Seconds => within(value, -longest, longest)?.saturating_mul(1000),
        Kind::Ticks => within(value, i32::MIN.into(), longest * 1000)?.saturating_mul(1000 / HZ),
        Kind::Millis => crate::neigh::ticks(low(value)),
        Kind::Hundredths => low(value).max(0).saturating_mul(HZ) / 100 * (1000 / HZ),
        _ => return Err(SysctlError::Invalid),
    }))
}

/// How a time reads.
pub(super) const fn shown(kind: Kind, value: i64) -> i64 {
    match kind {
        Kind::Seconds => value / 1000,
        Kind::Hundredths => value / 10,
        Kind::Ticks => value / (1000 / HZ),
        _ => value,
    }
}

/// What becomes of the text `old` when `text` is written; `other` reads another setting.
pub(super) fn written(
    kind: Kind,
    old: &str,
    text: &[u8],
    other: impl Fn(&'static str) -> String,
) -> Result<String, SysctlError> {
    let line = || std::str::from_utf8(text).map(str::trim).map_err(|_| SysctlError::Invalid);
    let limit = |name| other(name).trim().parse::<i64>().unwrap_or(0);
    match kind {
        Kind::Fixed => Err(SysctlError::ReadOnly),
        Kind::Action => Ok(String::new()),
        Kind::Ints(count, min, max) => {
            let values = numbers(text, count)?;
            let mut out: Vec<String> = old.split_whitespace().map(str::to_owned).collect();
            for (slot, value) in out.iter_mut().zip(values) {
                *slot = within(value, min, max)?.to_string();
            }
            Ok(out.join("\t"))
        }
        Kind::AtLeast(name) => bounded(old, text, limit(name), i64::MAX),
        Kind::AtMost(name) => bounded(old, text, 0, limit(name)),
        Kind::PortRange => {
            let mut range: Vec<i64> = old.split_whitespace().filter_map(|v| v.parse().ok()).collect();
            for (slot, value) in range.iter_mut().zip(numbers(text, 2)?) {
                *slot = within(value, 1, 65_535)?;
            }
            let lowest = limit("ipv4/ip_unprivileged_port_start");
            if range[1] < range[0] || range[0] < lowest {
                return Err(SysctlError::Invalid);
            }
            Ok(format!("{}\t{}", range[0], range[1]))
        }
        Kind::GroupRange => {
            let values = numbers(text, 2)?;
            let mut range: Vec<i64> = old.split_whitespace().filter_map(|v| v.parse().ok()).collect();
            for (slot, value) in range.iter_mut().zip(values) {
                *slot = within(value, 0, i64::from(u32::MAX) - 1)?;
            }
            Ok(if range[0] <= range[1] { format!("{}\t{}", range[0], range[1]) } else { "1\t0".into() })
        }
        Kind::Bits(limit) => bits(line()?, limit),
        Kind::OneOf(_) if text.is_empty() => Ok(old.into()),
        Kind::OneOf(words) => {
            let word = line()?;
            if words.contains(&word) { Ok(word.into()) } else { Err(SysctlError::NoSuch) }
        }
        Kind::Key if text.is_empty() => Ok(old.into()),
        Kind::Key => key(line()?),
        Kind::Cpus => cpus(line()?),
        Kind::Once => match one(BOOL, text)? {
            None => Ok(old.into()),
            Some(0) if old == "1" => Err(SysctlError::Busy),
            Some(value) => Ok(value.to_string()),
        },
        _ => Ok(one(kind, text)?.map_or_else(|| old.into(), |value| shown(kind, value).to_string())),
    }
}

fn bounded(old: &str, text: &[u8], min: i64, max: i64) -> Result<String, SysctlError> {
    Ok(one(Kind::Int(min, max), text)?.map_or_else(|| old.into(), |value| value.to_string()))
}

/// A list of numbers and ranges, put in order and joined.
fn bits(list: &str, limit: u32) -> Result<String, SysctlError> {
    let mut ranges = Vec::new();
    for part in list.split([',', '\n']).map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let read = |n: &str| n.parse::<u32>().ok().filter(|n| *n < limit).ok_or(SysctlError::Invalid);
        let (first, last) = (read(first)?, read(last)?);
        if last < first {
            return Err(SysctlError::Invalid);
        }
        ranges.push((first, last));
    }
    ranges.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    let shown = |&(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    Ok(joined.iter().map(shown).collect::<Vec<_>>().join(","))
}

fn key(text: &str) -> Result<String, SysctlError> {
    let one = |key: &str| {
        let groups: Vec<&str> = key.trim().split('-').collect();
        let read = |g: &&str| u32::from_str_radix(g, 16).map(|v| format!("{v:08x}"));
        let groups: Result<Vec<String>, _> = groups.iter().map(read).collect();
        groups.ok().filter(|g| g.len() == 4).map(|g| g.join("-")).ok_or(SysctlError::Invalid)
    };
    let keys: Result<Vec<String>, _> = text.split(',').map(one).collect();
    keys.and_then(|keys| if keys.len() <= 2 { Ok(keys.join(",")) } else { Err(SysctlError::Invalid) })
}

fn cpus(text: &str) -> Result<String, SysctlError> {
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(63);
    let mask = if text.is_empty() { 0 } else { u64::from_str_radix(text, 16).map_err(|_| SysctlError::Invalid)? };
    if mask >> count == 0 { Ok(format!("{mask:x}")) } else { Err(SysctlError::TooLarge) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(kind: Kind, old: &str, text: &str) -> Result<String, SysctlError> {
        written(kind, old, text.as_bytes(), |_| "1024".into())
    }

    #[test]
    fn numbers_are_read_as_linux_reads_them() {
        for (text, reads) in
            [("5", "5"), (" 5", "5"), ("5 6", "5"), ("0x10", "16"), ("010", "8"), ("-3\n", "-3"), ("", "1")]
        {
            assert_eq!(write(INT, "1", text).as_deref(), Ok(reads), "{text:?}");
        }
        for text in ["abc", "1abc", "+5", "1,2", "\n", "-", "--1", "1.5", "5\0", "99999999999", "99999999999999999999"]
        {
            assert_eq!(write(INT, "1", text), Err(SysctlError::Invalid), "{text:?}");
        }
    }

    #[test]
    fn times_wrap_and_round() {
        assert_eq!(write(Kind::Millis, "0", "5").as_deref(), Ok("8"));
        assert_eq!(write(Kind::Millis, "0", "99999999999").as_deref(), Ok("1215752192"));
        assert_eq!(write(Kind::Hundredths, "0", "5").as_deref(), Ok("4"));
        assert_eq!(write(Kind::Seconds, "0", "8589934").as_deref(), Ok("8589934"));
        assert_eq!(write(Kind::Seconds, "0", "8589935"), Err(SysctlError::Invalid));
    }

    #[test]
    fn vectors_keep_what_was_not_written() {
        assert_eq!(write(Kind::Ints(3, 1, 100), "1\t2\t3", "5 6").as_deref(), Ok("5\t6\t3"));
        assert_eq!(write(Kind::Ints(3, 1, 100), "1\t2\t3", "5 600"), Err(SysctlError::Invalid));
        assert_eq!(write(Kind::PortRange, "1\t2", "2000 1999"), Err(SysctlError::Invalid));
        assert_eq!(write(Kind::PortRange, "1024\t3000", "2000").as_deref(), Ok("2000\t3000"));
        assert_eq!(write(Kind::PortRange, "1024\t3000", "80 90"), Err(SysctlError::Invalid));
        assert_eq!(write(Kind::GroupRange, "1\t0", "5 6").as_deref(), Ok("5\t6"));
        assert_eq!(write(Kind::GroupRange, "1\t0", "5").as_deref(), Ok("1\t0"));
    }

    #[test]
    fn lists_are_put_in_order() {
        assert_eq!(write(Kind::Bits(256), "", "7,3-5,4-6,200\n").as_deref(), Ok("3-7,200"));
        assert_eq!(write(Kind::Bits(256), "", "256"), Err(SysctlError::Invalid));
        assert_eq!(write(Kind::OneOf(&["reno"]), "reno", "bbr"), Err(SysctlError::NoSuch));
        assert_eq!(write(Kind::Once, "1", "0"), Err(SysctlError::Busy));
    }
}
