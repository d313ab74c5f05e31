//! The limits of the control group (v2) that this process runs in: a container's memory and CPU.

use std::{
    fs,
    path::{Path, PathBuf},
};

const MOUNT: &str = "/sys/fs/cgroup";

/// The folder of this process's group. Inside a container with its own cgroup namespace that is the mount itself.
pub(super) fn own_folder() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let folder = folder_of(&groups, Path::new(MOUNT))?;
    folder.is_dir().then_some(folder)
}

/// The line of the unified hierarchy is `0::/path`.
fn folder_of(groups: &str, mount: &Path) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    // A group outside of the namespace shows as `/..`: then the mount is all there is to see.
    let path = path.trim_start_matches('/');
    Some(if path.split('/').any(|part| part == "..") { mount.to_owned() } else { mount.join(path) })
}

/// The smallest memory limit of the group and of those above it, in bytes.
pub(super) fn memory_limit(folder: &Path) -> Option<u64> {
    folder
        .ancestors()
        .take_while(|folder| folder.starts_with(MOUNT))
        .filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok())
        .filter_map(|text| text.trim().parse().ok())
        .min()
}

/// Memory that the group holds and cannot give back at once, in bytes: without the page cache that nobody uses.
pub(super) fn memory_used(folder: &Path) -> Option<u64> {
    let current: u64 = fs::read_to_string(folder.join("memory.current")).ok()?.trim().parse().ok()?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    Some(current.saturating_sub(field(&stat, "inactive_file").unwrap_or(0)))
}

/// Whether the group's share of the CPUs is limited.
pub(super) fn has_cpu_quota(folder: &Path) -> bool {
    folder
        .ancestors()
        .take_while(|folder| folder.starts_with(MOUNT))
        .filter_map(|folder| fs::read_to_string(folder.join("cpu.max")).ok())
        .any(|text| !text.trim_start().starts_with("max"))
}

/// CPU time that the group has used, in microseconds.
pub(super) fn cpu_used_us(folder: &Path) -> Option<u64> {
    field(&fs::read_to_string(folder.join("cpu.stat")).ok()?, "usage_usec")
}

/// The value of a line `NAME VALUE`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_folder_comes_from_the_unified_hierarchy() {
        let mount = Path::new("/sys/fs/cgroup");
        assert_eq!(folder_of("0::/\n", mount), Some(mount.to_owned()));
        assert_eq!(
            folder_of("0::/system.slice/x.service\n", mount),
            Some(mount.join("system.slice/x.service"))
        );
        assert_eq!(folder_of("0::/../../y\n", mount), Some(mount.to_owned()));
        assert_eq!(folder_of("4:memory:/a\n", mount), None);
    }

    #[test]
    fn fields_are_whole_words() {
        let stat = "inactive_file_x 1\ninactive_file 4096\n";
        assert_eq!(field(stat, "inactive_file"), Some(4096));
        assert_eq!(field(stat, "active"), None);
    }
}
