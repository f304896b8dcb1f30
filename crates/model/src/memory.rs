//! Available memory, within the limits of the system, the control groups and the process.

use std::path::{Path, PathBuf};

/// Returns the number of bytes that this process can still allocate, or `None` on systems other than Linux. It is the
/// minimum of the system's available memory plus free swap, the remainder of each control group's limit, and the limits
/// on the address space. File caches count as free.
pub fn available_memory() -> Option<u64> {
    SystemFiles {
        process: Path::new("/proc"),
        groups: Path::new("/sys/fs/cgroup"),
    }
    .available()
}

/// Returns the number of bytes that this process has in main memory now, on systems that report it (Linux).
pub fn resident_memory() -> Option<u64> {
    let status = read(Path::new("/proc/self/status"))?;
    kilobytes(&status, "VmRSS:")
}

/// Folders that hold the system's files on memory; tests use other folders.
struct SystemFiles<'a> {
    process: &'a Path,
    groups: &'a Path,
}

impl SystemFiles<'_> {
    fn available(&self) -> Option<u64> {
        let of_groups = self
            .groups()
            .into_iter()
            .filter_map(|group| left_in(&group));
        let all = [self.of_system(), self.of_limits()];
        all.into_iter().flatten().chain(of_groups).min()
    }

    fn of_system(&self) -> Option<u64> {
        let text = read(&self.process.join("meminfo"))?;
        let available = kilobytes(&text, "MemAvailable:")?;
        Some(available + kilobytes(&text, "SwapFree:").unwrap_or(0))
    }

    /// Returns the remainder of the limits `ulimit -v` and `ulimit -d`.
    fn of_limits(&self) -> Option<u64> {
        let limits = read(&self.process.join("self/limits"))?;
        let status = read(&self.process.join("self/status"))?;
        let left = |limit: &str, used: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(limit))?;
            let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(limit.saturating_sub(kilobytes(&status, used)?))
        };
        let all = [
            left("Max address space", "VmSize:"),
            left("Max data size", "VmData:"),
        ];
        all.into_iter().flatten().min()
    }

    /// Returns the folders of the process's control groups and their parents, of cgroup v1 and v2.
    fn groups(&self) -> Vec<PathBuf> {
        let text = read(&self.process.join("self/cgroup")).unwrap_or_default();
        let mut folders = Vec::new();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let root = match controllers {
                "" => self.groups.to_path_buf(),
                list if list.split(',').any(|name| name == "memory") => self.groups.join("memory"),
                _ => continue,
            };
            let path = root.join(path.trim_start_matches('/'));
            // In a container the path may be the host's; then the root is the container's own group.
            let within = path
                .ancestors()
                .take_while(|folder| folder.starts_with(&root));
            folders.extend(within.map(Path::to_path_buf));
        }
        folders
    }
}

/// Returns the remainder of a control group's limit; `None` if it has no limit.
fn left_in(group: &Path) -> Option<u64> {
    let number = |name: &str| read(&group.join(name))?.trim().parse::<u64>().ok();
    let (limit, used, caches) = match number("memory.max") {
        Some(limit) => (
            limit,
            number("memory.current")?,
            ["inactive_file ", "active_file "],
        ),
        None => (
            number("memory.limit_in_bytes")?,
            number("memory.usage_in_bytes")?,
            ["total_inactive_file ", "total_active_file "],
        ),
    };
    let statistics = read(&group.join("memory.stat")).unwrap_or_default();
    let cached = |name: &str| {
        let line = statistics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|count| count.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    let held = used.saturating_sub(caches.iter().map(|name| cached(name)).sum());
    Some(limit.saturating_sub(held))
}

/// Returns the number of bytes after `name`, which the text gives in kB.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let count: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(count * 1024)
}

/// Reads a file; `None` if it does not exist, as on other systems and versions of Linux.
fn read(path: &Path) -> Option<String> {
    polymath_base::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct System(tempfile::TempDir);

    impl System {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let path = folder.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Self(folder)
        }

        fn available(&self) -> Option<u64> {
            SystemFiles {
                process: &self.0.path().join("proc"),
                groups: &self.0.path().join("cgroup"),
            }
            .available()
        }
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal: 9000 kB\nMemFree: 1 kB\nMemAvailable:    4000 kB\nSwapFree:    96 kB\n",
    );

    /// Checks that the smallest limit counts, in any parent of the control group.
    #[test]
    fn the_smallest_limit_counts() {
        assert_eq!(System::new(&[]).available(), None);
        assert_eq!(System::new(&[MEMINFO]).available(), Some(4096 * 1024));
        let second = [
            MEMINFO,
            ("proc/self/cgroup", "0::/user/run\n"),
            ("cgroup/user/run/memory.max", "max\n"),
            ("cgroup/user/run/memory.current", "5\n"),
            ("cgroup/user/memory.max", "3000000\n"),
            ("cgroup/user/memory.current", "1000000\n"),
            (
                "cgroup/user/memory.stat",
                "anon 7\ninactive_file 20000\nactive_file 3\n",
            ),
        ];
        assert_eq!(System::new(&second).available(), Some(2_020_003));
        let first = [
            MEMINFO,
            (
                "proc/self/cgroup",
                "5:cpu:/a\n4:memory:/docker/of/the/host\n",
            ),
            ("cgroup/memory/memory.limit_in_bytes", "700000\n"),
            ("cgroup/memory/memory.usage_in_bytes", "600000\n"),
            (
                "cgroup/memory/memory.stat",
                "inactive_file 1\ntotal_inactive_file 50000\n",
            ),
        ];
        assert_eq!(System::new(&first).available(), Some(150_000));
        let limited = [
            MEMINFO,
            (
                "proc/self/limits",
                "Limit  Soft Limit  Hard Limit  Units\nMax address space  2000000  unlimited  bytes\n\
                 Max data size  unlimited  unlimited  bytes\n",
            ),
            (
                "proc/self/status",
                "VmPeak: 1 kB\nVmSize:\t    1000 kB\nVmData: 1 kB\n",
            ),
        ];
        assert_eq!(
            System::new(&limited).available(),
            Some(2_000_000 - 1_024_000)
        );
    }

    /// Checks that this system reports available memory above zero.
    #[test]
    #[cfg(target_os = "linux")]
    fn linux_reports_available_memory() {
        assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
        let used = vec![1u8; 64 << 20];
        assert!(
            resident_memory().is_some_and(|bytes| bytes > used.iter().map(|x| u64::from(*x)).sum())
        );
    }
}
