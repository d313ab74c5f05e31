//! The devices of this machine that may encode, as Linux shows them in `/dev`, `/sys` and `/proc`.
//!
//! Elsewhere there is nothing to find here, and the families that need no device path (NVENC, AMF, VideoToolbox) are left
//! to their trial encodes.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What may encode here, before anything was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Devices {
    pub render_nodes: Vec<RenderNode>,
    /// How many `/dev/nvidia<N>` there are: GPUs that NVML may not show.
    pub nvidia_nodes: u32,
    /// `/dev/video*`, cameras among them.
    pub video_nodes: Vec<PathBuf>,
    /// The board's name when this is an NVIDIA Jetson.
    pub jetson: Option<String>,
}

/// A DRM render node. In a container only those that were handed in are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RenderNode {
    pub path: String,
    pub vendor: Vendor,
    /// For people: vendor and PCI id, or the driver.
    pub name: String,
    /// Kernel driver: `i915`, `xe`, `amdgpu`.
    pub driver: String,
    /// Why this process may not open it.
    pub denied: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vendor {
    Intel,
    Amd,
    Nvidia,
    /// Not on PCI, or nobody known.
    Other,
}

impl Vendor {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Intel => "intel",
            Self::Amd => "amd",
            Self::Nvidia => "nvidia",
            Self::Other => "other",
        }
    }

    /// By PCI vendor id.
    fn of_pci(id: &str) -> Self {
        match id {
            "0x8086" => Self::Intel,
            "0x1002" => Self::Amd,
            "0x10de" => Self::Nvidia,
            _ => Self::Other,
        }
    }

    const fn brand(self) -> &'static str {
        match self {
            Self::Intel => "Intel",
            Self::Amd => "AMD",
            Self::Nvidia => "NVIDIA",
            Self::Other => "GPU",
        }
    }
}

pub(super) async fn find() -> Devices {
    tokio::task::spawn_blocking(|| find_below(Path::new("/"))).await.unwrap_or_default()
}

fn find_below(root: &Path) -> Devices {
    let numbered = |folder: &str, prefix: &str| -> Vec<String> {
        let mut numbers: Vec<(u32, String)> = fs::read_dir(root.join(folder))
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let number = name.strip_prefix(prefix)?.parse().ok()?;
                Some((number, name))
            })
            .collect();
        numbers.sort();
        numbers.into_iter().map(|(_, name)| name).collect()
    };
    Devices {
        render_nodes: numbered("dev/dri", "renderD").iter().map(|name| render_node(root, name)).collect(),
        nvidia_nodes: u32::try_from(numbered("dev", "nvidia").len()).unwrap_or(u32::MAX),
        video_nodes: numbered("dev", "video").iter().map(|name| Path::new("/dev").join(name)).collect(),
        jetson: jetson(root),
    }
}

fn render_node(root: &Path, name: &str) -> RenderNode {
    let device = root.join("sys/class/drm").join(name).join("device");
    let id = |file: &str| {
        fs::read_to_string(device.join(file)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let vendor_id = id("vendor");
    let vendor = Vendor::of_pci(&vendor_id);
    let driver = fs::read_link(device.join("driver"))
        .ok()
        .and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()))
        .unwrap_or_default();
    let hex = |id: &str| id.trim_start_matches("0x").to_owned();
    let label = match (vendor_id.is_empty(), driver.is_empty()) {
        (false, _) => format!("{} {}:{}", vendor.brand(), hex(&vendor_id), hex(&id("device"))),
        (true, false) => format!("{} {driver}", vendor.brand()),
        (true, true) => vendor.brand().to_owned(),
    };
    RenderNode {
        path: format!("/dev/dri/{name}"),
        vendor,
        name: label,
        driver,
        denied: denied(root, &root.join("dev/dri").join(name)),
    }
}

/// Why this process may not read and write the device, with the group that may.
#[cfg(unix)]
fn denied(root: &Path, path: &Path) -> Option<String> {
    use rustix::fs::{Access, access};
    use std::os::unix::fs::MetadataExt;

    let error = access(path, Access::READ_OK | Access::WRITE_OK).err()?;
    let group = fs::metadata(path).ok().map(|metadata| group_name(root, metadata.gid()));
    Some(match group {
        Some(group) => format!(
            "no permission ({}): add the user of ffmpegd to the group {group} \
             (usermod -aG {group} USER; in a container: --group-add {group})",
            std::io::Error::from(error)
        ),
        None => format!("cannot be opened: {}", std::io::Error::from(error)),
    })
}

#[cfg(not(unix))]
fn denied(_root: &Path, _path: &Path) -> Option<String> {
    None
}

/// The group's name, or its number where the machine (a container, mostly) has no name for it.
fn group_name(root: &Path, gid: u32) -> String {
    fs::read_to_string(root.join("etc/group"))
        .ok()
        .and_then(|groups| name_in(&groups, gid).map(str::to_owned))
        .unwrap_or_else(|| gid.to_string())
}

fn name_in(groups: &str, gid: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(gid)).then_some(name)
    })
}

/// Jetsons run Linux for Tegra, whose release file may be all that a container shows; the device tree names the board.
fn jetson(root: &Path) -> Option<String> {
    let model = fs::read_to_string(root.join("proc/device-tree/model"))
        .map(|text| text.trim_matches(['\0', '\n', ' ']).to_owned())
        .unwrap_or_default();
    let tegra = root.join("etc/nv_tegra_release").exists();
    match (model.contains("Jetson") || model.contains("Tegra"), tegra) {
        (true, _) => Some(model),
        (false, true) => Some("NVIDIA Jetson".to_owned()),
        (false, false) => None,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn render_nodes_come_in_order_with_vendor_and_driver() {
        let root = tempfile::tempdir().unwrap();
        for (node, vendor, device) in [("renderD129", "0x1002", "0x73bf"), ("renderD128", "0x8086", "0x56a0")]
        {
            write(root.path(), &format!("dev/dri/{node}"), "");
            write(root.path(), &format!("sys/class/drm/{node}/device/vendor"), &format!("{vendor}\n"));
            write(root.path(), &format!("sys/class/drm/{node}/device/device"), &format!("{device}\n"));
        }
        std::os::unix::fs::symlink(
            "../../../bus/pci/drivers/i915",
            root.path().join("sys/class/drm/renderD128/device/driver"),
        )
        .unwrap();
        write(root.path(), "dev/dri/card0", "");
        let nodes = find_below(root.path()).render_nodes;
        assert_eq!(nodes.len(), 2);
        assert_eq!((nodes[0].path.as_str(), nodes[0].vendor), ("/dev/dri/renderD128", Vendor::Intel));
        assert_eq!((nodes[0].name.as_str(), nodes[0].driver.as_str()), ("Intel 8086:56a0", "i915"));
        assert_eq!((nodes[1].vendor, nodes[1].denied.as_deref()), (Vendor::Amd, None));
    }

    #[test]
    fn a_node_without_a_readable_bus_is_tried_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "dev/dri/renderD128", "");
        assert_eq!(find_below(root.path()).render_nodes[0].vendor, Vendor::Other);
    }

    #[test]
    fn the_group_that_may_open_a_node_has_a_name() {
        assert_eq!(name_in("root:x:0:\nrender:x:105:alice\n", 105), Some("render"));
        assert_eq!(name_in("root:x:0:", 105), None);
    }

    #[test]
    fn a_jetson_is_recognised_by_its_device_tree_or_release_file() {
        let board = tempfile::tempdir().unwrap();
        write(board.path(), "proc/device-tree/model", "NVIDIA Jetson Orin NX Developer Kit\0");
        assert_eq!(find_below(board.path()).jetson.as_deref(), Some("NVIDIA Jetson Orin NX Developer Kit"));
        let container = tempfile::tempdir().unwrap();
        write(container.path(), "etc/nv_tegra_release", "# R35 (release), REVISION: 4.1");
        assert_eq!(find_below(container.path()).jetson.as_deref(), Some("NVIDIA Jetson"));
        let pi = tempfile::tempdir().unwrap();
        write(pi.path(), "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0");
        assert_eq!(find_below(pi.path()).jetson, None);
    }

    #[test]
    fn only_numbered_nvidia_nodes_are_gpus() {
        let root = tempfile::tempdir().unwrap();
        for node in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "video0"] {
            write(root.path(), &format!("dev/{node}"), "");
        }
        let devices = find_below(root.path());
        assert_eq!(devices.nvidia_nodes, 2);
        assert_eq!(devices.video_nodes, [PathBuf::from("/dev/video0")]);
    }
}
