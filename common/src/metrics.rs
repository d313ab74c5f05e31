//! What Prometheus scrapes, as both daemons say it: OpenMetrics text, names as Prometheus' conventions have them.
//!
//! What happens is counted in metrics that live as long as the process and are registered once. What merely *is* (slots in
//! use, the depth of a queue) is read when somebody asks, by a [`Collector`], so that nothing can be forgotten to be set.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric as _, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

/// Of the text that [`text`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry with what every daemon tells of itself: `tvarr_build_info`, and the `process_*` figures.
#[must_use]
pub fn registry(daemon: &'static str, version: &'static str) -> Registry {
    let mut registry = Registry::default();
    let build = Info::new([("daemon", daemon), ("version", version)]);
    registry.register("tvarr_build", "Which program this is", build);
    registry.register_collector(Box::new(Process));
    registry
}

/// The text of several registries together. No two of them have a name in common.
///
/// # Errors
/// A collector failed.
pub fn text(registries: &[&Registry]) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for registry in registries {
        text::encode_registry(&mut text, registry)?;
    }
    text::encode_eof(&mut text)?;
    Ok(text)
}

/// One family of gauges, for a [`Collector`]: name, help without a full stop (as for [`Registry::register`]), unit. Without a
/// row nothing is written.
///
/// # Errors
/// The text cannot be written.
pub fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<Unit>),
    rows: impl IntoIterator<Item = (L, V)>,
) -> fmt::Result {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut family =
        encoder.encode_descriptor(name, &format!("{help}."), unit.as_ref(), MetricType::Gauge)?;
    for (labels, value) in rows {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

/// What the kernel says of this process, under the names that every client library of Prometheus gives it
/// (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>). What cannot be read is left out.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(process) = procfs::process::Process::myself() else { return Ok(()) };
        let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: u64| {
            let gauge = ConstGauge::new(value as f64);
            let metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            gauge.encode(metric)
        };
        if let Ok(count) = process.fd_count() {
            gauge("process_open_fds", "Open file descriptors.", None, count as u64)?;
        }
        if let Ok(limits) = process.limits()
            && let procfs::process::LimitValue::Value(most) = limits.max_open_files.soft_limit
        {
            gauge("process_max_fds", "File descriptors that may be open.", None, most)?;
        }
        let Ok(stat) = process.stat() else { return Ok(()) };
        let page = procfs::page_size();
        gauge("process_resident_memory", "Memory in RAM.", Some(Unit::Bytes), stat.rss.saturating_mul(page))?;
        gauge("process_virtual_memory", "Address space.", Some(Unit::Bytes), stat.vsize)?;
        gauge("process_threads", "Threads.", None, u64::try_from(stat.num_threads).unwrap_or_default())?;
        let ticks = procfs::ticks_per_second() as f64;
        if let Ok(booted) = procfs::boot_time_secs() {
            let since = ConstGauge::new(booted as f64 + stat.starttime as f64 / ticks);
            let (name, help) = ("process_start_time", "When it was started, since the Unix epoch.");
            since.encode(encoder.encode_descriptor(
                name,
                help,
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?)?;
        }
        let used = ConstCounter::new((stat.utime + stat.stime) as f64 / ticks);
        let (name, help) = ("process_cpu", "Processor time, of the user and of the system.");
        used.encode(encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_tells_its_version_and_what_its_process_uses() {
        let told = text(&[&registry("coordinator", "1.2.3")]).unwrap();
        assert!(told.contains("tvarr_build_info{daemon=\"coordinator\",version=\"1.2.3\"} 1\n"), "{told}");
        assert!(told.ends_with("# EOF\n"), "{told}");
        let value = |name: &str| -> f64 {
            let line = told.lines().find(|line| line.split(' ').next() == Some(name));
            line.and_then(|line| line.split(' ').nth(1))
                .unwrap_or_else(|| panic!("no {name} in {told}"))
                .parse()
                .unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let age = jiff::Timestamp::now().as_second() as f64 - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
    }

    #[test]
    fn a_family_without_a_row_is_not_told() {
        #[derive(Debug)]
        struct Slots(Vec<u32>);
        impl Collector for Slots {
            fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
                let rows = self.0.iter().map(|used| ([("worker", "a \"b\"\n")], *used));
                gauges(&mut encoder, ("slots", "Slots", None), rows)
            }
        }
        let told = |slots| {
            let mut registry = Registry::default();
            registry.register_collector(Box::new(Slots(slots)));
            text(&[&registry]).unwrap()
        };
        assert_eq!(told(vec![]), "# EOF\n");
        let expected = "# HELP slots Slots.\n# TYPE slots gauge\nslots{worker=\"a \\\"b\\\"\\n\"} 3\n# EOF\n";
        assert_eq!(told(vec![3]), expected);
    }
}
