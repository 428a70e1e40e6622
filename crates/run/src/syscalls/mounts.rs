//! `/proc/…/mounts` and `/proc/…/mountinfo`: the kernel's list, and behind it the namespaces that are bound to paths.

use std::path::PathBuf;

use super::resolve::{Backing, target_of};
use crate::paths::Who;
use crate::task::Task;
use crate::world::{World, lock};

/// What a task finds in its list; `None`: nothing is bound, and the kernel's own serves (one can wait on that for changes).
///
/// # Errors
/// errno of making a namespace's file.
pub(crate) fn list(world: &World, task: Task, who: Who, name: &str) -> Result<Option<Backing>, i32> {
    let bound: Vec<(PathBuf, crate::tag::SpaceId)> =
        lock(&world.binds).iter().map(|(path, space)| (path.to_path_buf(), space)).collect();
    if bound.is_empty() {
        return Ok(None);
    }
    let Some(target) = target_of(task, who) else { return Ok(None) };
    let real = PathBuf::from(format!("/proc/{}/{name}", target.tid));
    let Ok(mut text) = std::fs::read_to_string(&real) else { return Ok(None) };
    let mut rows = Vec::with_capacity(bound.len());
    for (path, space) in bound {
        let Ok(inode) = lock(&world.spaces).inode(space) else { continue };
        rows.push((escape(&path.to_string_lossy()), inode));
    }
    rows.sort();
    let numbers = |text: &str| text.lines().filter_map(|l| l.split(' ').next()?.parse::<u64>().ok()).max().unwrap_or(0);
    let (first, root) = (numbers(&text) + 1, text.split(' ').next().unwrap_or("1").to_owned());
    for (at, (path, inode)) in rows.into_iter().enumerate() {
        text += &match name {
            "mountinfo" => format!("{} {root} 0:4 net:[{inode}] {path} rw - nsfs nsfs rw\n", first + at as u64),
            _ => format!("nsfs {path} nsfs rw 0 0\n"),
        };
    }
    Ok(Some(Backing::Content(text.into_bytes(), real, None)))
}

/// Blanks would end a field: the kernel writes them, and the backslash, as octal numbers.
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            ' ' => out += "\\040",
            '\t' => out += "\\011",
            '\n' => out += "\\012",
            '\\' => out += "\\134",
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_written_as_numbers() {
        assert_eq!(escape("/run/netns/a b\\c"), "/run/netns/a\\040b\\134c");
    }
}
