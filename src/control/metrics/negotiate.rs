//! Which text format the client wants.

use hyper::header::{ACCEPT, HeaderMap};

/// A text format of metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own, 0.0.4.
    Prometheus,
}

impl Format {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// OpenMetrics where the client asks for it, and prefers nothing else that we have.
    pub(super) fn choose(head: &HeaderMap) -> Self {
        let (mut open_metrics, mut other) = (0.0, 0.0);
        for value in head.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()) {
            for range in value.split(',') {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or_default();
                let parameters: Vec<&str> = parts.collect();
                let parameter = |name: &str| {
                    parameters.iter().filter_map(|p| p.split_once('=')).find(|(key, _)| *key == name)
                };
                let quality = parameter("q").and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0_f64);
                let is_ours = parameter("version").is_none_or(|(_, version)| version == "1.0.0");
                match kind {
                    "application/openmetrics-text" if is_ours => open_metrics = quality.max(open_metrics),
                    "text/plain" => other = quality.max(other),
                    _ => {}
                }
            }
        }
        if open_metrics > 0.0 && open_metrics >= other { Self::OpenMetrics } else { Self::Prometheus }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        use Format::{OpenMetrics, Prometheus};
        for (accept, format) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/html, */*;q=0.1", Prometheus),
            ("text/plain;version=0.0.4", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Prometheus),
            ("application/openmetrics-text;version=1.0.0;q=0", Prometheus),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.5", Prometheus),
            // As Prometheus 2.42 asks.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (";;==,,q=;q=x", Prometheus),
        ] {
            let mut head = HeaderMap::new();
            head.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(Format::choose(&head), format, "{accept}");
        }
    }
}
