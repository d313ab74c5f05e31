//! Log lines for programs: one JSON object per line, the fields of the spans around it beside its own.

use std::fmt;

use serde::{Serializer as _, ser::SerializeMap as _};
use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_serde::fields::AsMap as _;
use tracing_subscriber::{
    fmt::{
        FmtContext, FormattedFields,
        format::{FormatEvent, JsonFields, Writer},
    },
    registry::LookupSpan,
};

/// What every line has; a field of one of these names is left out.
const OWN: [&str; 4] = ["timestamp", "level", "message", "target"];

/// `{"timestamp": ..., "level": ..., "message": ..., "target": ..., "job": ..., ...}`. What an event says wins over what
/// the spans around it say, an inner span over an outer one.
pub(super) struct Flat;

impl<S> FormatEvent<S, JsonFields> for Flat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<FormattedFields<JsonFields>>()
                && let Ok(Value::Object(of_span)) = serde_json::from_str(of_span)
            {
                fields.extend(of_span);
            }
        }
        if let Ok(Value::Object(own)) = serde_json::to_value(event.field_map()) {
            fields.extend(own);
        }
        let line = line(event, &fields).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

fn line(event: &Event<'_>, fields: &Map<String, Value>) -> Result<String, serde_json::Error> {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut object = serializer.serialize_map(None)?;
    // Always six digits: lines sort by their text.
    let now = jiff::Timestamp::now();
    object.serialize_entry("timestamp", &format_args!("{now:.6}"))?;
    object.serialize_entry("level", event.metadata().level().as_str())?;
    object.serialize_entry("message", fields.get("message").unwrap_or(&Value::Null))?;
    object.serialize_entry("target", event.metadata().target())?;
    for (name, value) in fields.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
        object.serialize_entry(name, value)?;
    }
    object.end()?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{fmt::format::JsonFields, prelude::*};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, log: impl FnOnce()) -> Vec<Map<String, Value>> {
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(Flat);
        let filter = tracing_subscriber::EnvFilter::new(filter);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(filter).with(layer), log);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn ids_of_the_spans_around_are_at_the_top_level() {
        let lines = logged("info", || {
            let worker = tracing::error_span!("worker", worker = "w", job = "outer");
            let attempt = worker.in_scope(|| {
                tracing::error_span!("attempt", job = "j", epoch = 3, stream = tracing::field::Empty)
            });
            attempt.in_scope(|| tracing::info!(files = 2, "done"));
            attempt.record("stream", "s");
            attempt.in_scope(|| tracing::warn!(job = "of the event", "done\nagain"));
        });
        let field = |line: usize, name: &str| lines[line].get(name).cloned().unwrap_or_default();
        assert_eq!(field(0, "message"), "done");
        assert_eq!(field(0, "level"), "INFO");
        assert_eq!(
            (field(0, "worker"), field(0, "job"), field(0, "epoch")),
            ("w".into(), "j".into(), 3.into())
        );
        assert_eq!((field(0, "files"), field(0, "stream")), (2.into(), Value::Null));
        assert_eq!((field(1, "stream"), field(1, "job")), ("s".into(), "of the event".into()));
        assert_eq!(field(1, "message"), "done\nagain", "one line for each event");
        assert!(field(0, "timestamp").as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn no_filter_takes_the_ids_away() {
        let lines = logged("warn", || {
            tracing::error_span!("attempt", job = "j").in_scope(|| tracing::warn!("no room"));
        });
        assert_eq!(lines[0]["job"], "j");
    }

    #[test]
    fn a_field_does_not_pass_for_what_every_line_has() {
        let lines = logged("info", || tracing::info!(level = "x", target = "y", timestamp = 1, "said"));
        assert_eq!(lines[0]["level"], "INFO");
        assert_ne!(lines[0]["target"], "y");
    }
}
