//! Capabilities for people.

use std::{collections::BTreeMap, fmt::Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use common::{
    bytes,
    media::VideoCodec,
    worker::{Capabilities, Encoder, Gpu},
};

/// A terminal that is not wider than usual.
const WIDTH: u16 = 92;

/// The capabilities as text for a terminal of at least 92 columns: machine, GPUs, video encoders that work, and what was
/// turned down and why. Colours are left to nobody: this also goes into files and bug reports.
#[must_use]
pub fn render_table(capabilities: &Capabilities) -> String {
    let mut text = String::new();
    section(&mut text, "Machine", machine(capabilities));
    section(&mut text, "GPUs", gpus(capabilities));
    section(&mut text, "Video encoders that work", encoders(capabilities));
    section(&mut text, "Hardware encoders turned down", rejected(capabilities));
    section(&mut text, "Problems", problems(capabilities));
    text
}

fn section(text: &mut String, title: &str, rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    for row in rows {
        table.add_row(row);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{title}");
    for line in table.lines() {
        let _ = writeln!(text, " {}", line.trim_end());
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn machine(capabilities: &Capabilities) -> Vec<Vec<String>> {
    let machine = &capabilities.machine;
    let counts = format!(
        "{} encoders, {} decoders, {} muxers, {} filters, {} protocols",
        capabilities.encoders.len(),
        capabilities.decoders.len(),
        capabilities.muxers.len(),
        capabilities.filters.len(),
        capabilities.protocols.len(),
    );
    let hwaccels: Vec<&str> = capabilities.hwaccels.iter().map(String::as_str).collect();
    vec![
        row(["host", &machine.hostname]),
        row(["system", &format!("{}, {}", machine.os, machine.arch)]),
        row(["cpu", &format!("{} x {}", machine.cores, machine.cpu)]),
        row(["memory", &bytes::show(machine.memory_total_bytes)]),
        row(["scratch space", &format!("{} free", bytes::show(machine.scratch_free_bytes))]),
        row(["ffmpeg", or(&capabilities.ffmpeg_version, "does not work; see below")]),
        row(["", &counts]),
        row(["", &format!("hwaccels compiled in: {}", or(&hwaccels.join(", "), "none"))]),
        row(["ffprobe", or(&capabilities.ffprobe_version, "does not work")]),
    ]
}

fn gpus(capabilities: &Capabilities) -> Vec<Vec<String>> {
    let cells = |gpu: &Gpu| {
        let memory =
            if gpu.memory_total_bytes > 0 { bytes::show(gpu.memory_total_bytes) } else { String::new() };
        let driver = if gpu.driver.is_empty() { String::new() } else { format!("driver {}", gpu.driver) };
        let sessions = match gpu.max_sessions {
            Some(sessions) => format!("{sessions} encode sessions"),
            None => "no session limit known".to_owned(),
        };
        vec![gpu.index.to_string(), gpu.vendor.clone(), gpu.name.clone(), memory, driver, sessions]
    };
    if capabilities.gpus.is_empty() {
        return vec![row(["none"])];
    }
    capabilities.gpus.iter().map(cells).collect()
}

/// The encoders of the codecs that presets use, by codec: software ones by name, hardware ones with their devices.
fn encoders(capabilities: &Capabilities) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for codec in VideoCodec::ALL {
        let mut label = codec.as_str();
        for encoder in capabilities.encoders.iter().filter(|encoder| encoder.codec == codec.as_str()) {
            rows.push(vec![
                label.to_owned(),
                encoder.name.clone(),
                encoder.family.as_str().to_owned(),
                devices(encoder),
            ]);
            label = "";
        }
    }
    if rows.is_empty() {
        return vec![row(["none"])];
    }
    rows
}

fn devices(encoder: &Encoder) -> String {
    let device = |device: &common::worker::EncoderDevice| {
        let depths: Vec<String> = device.bit_depths.iter().map(u8::to_string).collect();
        format!("GPU {} ({}): {} bit", device.gpu, device.path, depths.join(" and "))
    };
    encoder.devices.iter().map(device).collect::<Vec<_>>().join("\n")
}

/// One row for each reason on each device: most machines turn down a dozen encoders for the same one.
fn rejected(capabilities: &Capabilities) -> Vec<Vec<String>> {
    let mut by_reason: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for rejected in &capabilities.rejected {
        // Without a device nothing was tried, at no bit depth.
        let name = match rejected.bit_depth {
            10.. if !rejected.device.is_empty() => format!("{} {} bit", rejected.name, rejected.bit_depth),
            _ => rejected.name.clone(),
        };
        by_reason.entry((&rejected.reason, &rejected.device)).or_default().push(name);
    }
    let mut rows: Vec<Vec<String>> = by_reason
        .into_iter()
        .map(|((reason, device), mut names)| {
            names.sort();
            let device = if device.is_empty() { "-" } else { device };
            vec![names.join(", "), device.to_owned(), reason.to_owned()]
        })
        .collect();
    rows.sort();
    rows
}

fn problems(capabilities: &Capabilities) -> Vec<Vec<String>> {
    capabilities.problems.iter().map(|problem| row(["-", problem])).collect()
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use common::{
        media::EncoderFamily,
        worker::{EncoderDevice, Machine, RejectedEncoder},
    };

    use super::*;

    fn encoder(name: &str, codec: &str, devices: Vec<EncoderDevice>) -> Encoder {
        Encoder {
            name: name.to_owned(),
            codec: codec.to_owned(),
            family: EncoderFamily::of_encoder(name),
            devices,
        }
    }

    fn device(gpu: u32, path: &str, bit_depths: &[u8]) -> EncoderDevice {
        EncoderDevice { gpu, path: path.to_owned(), bit_depths: bit_depths.to_vec() }
    }

    fn rejected(name: &str, device: &str, bit_depth: u8, reason: &str) -> RejectedEncoder {
        RejectedEncoder {
            name: name.to_owned(),
            device: device.to_owned(),
            bit_depth,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn a_machine_with_gpus_reads_well() {
        let capabilities = Capabilities {
            ffmpeg_version: "5.1.9-0+deb12u1".to_owned(),
            ffprobe_version: "5.1.9-0+deb12u1".to_owned(),
            encoders: vec![
                encoder("libx264", "h264", Vec::new()),
                encoder("libx265", "hevc", Vec::new()),
                encoder("aac", "aac", Vec::new()),
                encoder("h264_nvenc", "h264", vec![device(0, "0", &[8])]),
                encoder(
                    "hevc_vaapi",
                    "hevc",
                    vec![device(1, "/dev/dri/renderD128", &[8, 10]), device(2, "/dev/dri/renderD129", &[8])],
                ),
            ],
            rejected: vec![
                rejected("hevc_vaapi", "/dev/dri/renderD129", 10, "No usable encoding profile found"),
                rejected("h264_qsv", "", 8, "no render node (/dev/dri/renderD*) of an Intel GPU"),
                rejected("hevc_qsv", "", 8, "no render node (/dev/dri/renderD*) of an Intel GPU"),
            ],
            hwaccels: BTreeSet::from(["cuda".to_owned(), "vaapi".to_owned()]),
            gpus: vec![
                Gpu {
                    index: 0,
                    vendor: "nvidia".to_owned(),
                    name: "NVIDIA GeForce RTX 3080".to_owned(),
                    driver: "550.54.14".to_owned(),
                    memory_total_bytes: 10 << 30,
                    max_sessions: Some(8),
                    ..Gpu::default()
                },
                Gpu { index: 1, vendor: "intel".to_owned(), name: "Intel 8086:56a0".to_owned(), ..Gpu::default() },
            ],
            machine: Machine {
                os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
                arch: "x86_64".to_owned(),
                cpu: "AMD EPYC 7R13 Processor".to_owned(),
                cores: 16,
                memory_total_bytes: 64 << 30,
                scratch_free_bytes: 500 << 30,
                hostname: "rack-7".to_owned(),
                scratch_total_bytes: 600 << 30,
            },
            problems: vec![
                "ffmpeg -muxers failed (exit status: 1): error while loading shared libraries: libmp3lame.so.0: \
                 cannot open shared object file"
                    .to_owned(),
            ],
            ..Capabilities::default()
        };
        let text = render_table(&capabilities);
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(WIDTH) + 1), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_machine_on_which_nothing_works_says_so() {
        insta::assert_snapshot!(render_table(&Capabilities::default()));
    }
}
