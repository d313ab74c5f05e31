//! OpenTelemetry's environment variables, as far as its SDK leaves them to the program, or takes what it does not understand
//! for something else without a word.

use url::Url;

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    HttpProtobuf,
}

/// What is sent, and how. Where to is read by the SDK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) traces: Option<Signal>,
    pub(super) logs: Option<Signal>,
    /// `OTEL_SERVICE_NAME`.
    pub(super) service_name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) protocol: Protocol,
    /// Milliseconds that one request may take.
    pub(super) timeout_ms: u64,
}

/// A variable that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value}: {problem}")]
pub struct Error {
    pub(super) variable: String,
    pub(super) value: String,
    pub(super) problem: String,
}

/// What one request may take, as the specification has it.
const TIMEOUT_MS: u64 = 10_000;

impl Settings {
    /// `None`: nothing is to be sent.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let traces = signal(&set, "TRACES")?;
        let logs = signal(&set, "LOGS")?;
        if traces.is_none() && logs.is_none() {
            return Ok(None);
        }
        if traces.is_some() {
            check_sampler(&set)?;
        }
        Ok(Some(Self { traces, logs, service_name: set("OTEL_SERVICE_NAME") }))
    }
}

fn signal(set: &impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<Signal>, Error> {
    let exporter = format!("OTEL_{name}_EXPORTER");
    match set(&exporter).as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(other) => return Err(wrong(&exporter, other, "use otlp or none")),
    }
    // The signal's own variable wins.
    let either = |what: &str| {
        let names = [format!("OTEL_EXPORTER_OTLP_{name}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| set(&name).map(|value| (name, value)))
    };
    let Some((variable, endpoint)) = either("ENDPOINT") else { return Ok(None) };
    let protocol = match either("PROTOCOL") {
        None => Protocol::HttpProtobuf,
        Some((variable, value)) => match value.to_ascii_lowercase().as_str() {
            "grpc" => Protocol::Grpc,
            "http/protobuf" => Protocol::HttpProtobuf,
            _ => return Err(wrong(&variable, &value, "use http/protobuf (the default) or grpc")),
        },
    };
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    // gRPC's may come without a scheme.
    let bare = protocol == Protocol::Grpc && !endpoint.contains("://");
    if !bare && !Url::parse(&endpoint).is_ok_and(|url| is_web(&url)) {
        return Err(wrong(&variable, &endpoint, "use http://host:port or https://host:port"));
    }
    if let Some((variable, value)) = either("COMPRESSION").filter(|(_, value)| value != "none") {
        return Err(wrong(&variable, &value, "nothing is compressed here; use none, or leave it away"));
    }
    let timeout_ms = match either("TIMEOUT") {
        None => TIMEOUT_MS,
        Some((variable, value)) => {
            value.parse().map_err(|_| wrong(&variable, &value, "use a number of milliseconds"))?
        }
    };
    Ok(Some(Signal { protocol, timeout_ms }))
}

/// The SDK takes a sampler that it does not know for `parentbased_always_on`.
fn check_sampler(set: &impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    let Some(sampler) = set("OTEL_TRACES_SAMPLER") else { return Ok(()) };
    match sampler.as_str() {
        "always_on" | "always_off" | "parentbased_always_on" | "parentbased_always_off" => Ok(()),
        "traceidratio" | "parentbased_traceidratio" => {
            let ratio = set("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|| "1".to_owned());
            match ratio.parse::<f64>() {
                Ok(part) if (0.0..=1.0).contains(&part) => Ok(()),
                _ => Err(wrong("OTEL_TRACES_SAMPLER_ARG", &ratio, "use a part between 0 and 1")),
            }
        }
        _ => Err(wrong(
            "OTEL_TRACES_SAMPLER",
            &sampler,
            "use always_on, always_off or traceidratio, with or without parentbased_ before it",
        )),
    }
}

fn wrong(variable: &str, value: &str, problem: &str) -> Error {
    Error { variable: variable.to_owned(), value: value.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, it)| (*it).to_owned());
        Settings::read(value).map_err(|error| error.to_string())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn nothing_is_sent_unless_an_endpoint_is_set() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_SERVICE_NAME", "farm"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
        assert_eq!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        let both = read(&[ENDPOINT]).unwrap().unwrap();
        assert!(both.traces.is_some() && both.logs.is_some());
    }

    #[test]
    fn each_signal_can_be_alone() {
        let logs = read(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://c:4318/v1/logs")]).unwrap().unwrap();
        assert!(logs.traces.is_none() && logs.logs.is_some());
        let traces = read(&[ENDPOINT, ("OTEL_LOGS_EXPORTER", "none")]).unwrap().unwrap();
        assert!(traces.traces.is_some() && traces.logs.is_none());
    }

    #[test]
    fn the_variable_of_a_signal_wins() {
        let settings = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.traces, Some(Signal { protocol: Protocol::Grpc, timeout_ms: 500 }));
        assert_eq!(settings.logs, Some(Signal { protocol: Protocol::HttpProtobuf, timeout_ms: 500 }));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_by_name() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "xray"),
        ] {
            let error = read(&[(variable, value), ENDPOINT]).unwrap_err();
            assert!(
                error.starts_with(&format!("{variable}={value}: use")) || error.contains("use"),
                "{error}"
            );
        }
        let ratio = [ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "10")];
        assert!(read(&ratio).unwrap_err().starts_with("OTEL_TRACES_SAMPLER_ARG=10"));
    }
}
