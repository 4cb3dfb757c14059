//! Metrics as text, in either format.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::negotiate::Format;
use super::sample::Sample;

/// `sample` in `format`.
pub(super) fn write(sample: Sample, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(sample));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    match format {
        Format::OpenMetrics => text,
        Format::Prometheus => to_prometheus(&text),
    }
}

/// The same in the older format: what is said of a counter or an info is said of the name that its values have, there is
/// no type "info", and no end mark.
fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        let Some(about) = line.strip_prefix("# ") else {
            text.extend([line, "\n"]);
            continue;
        };
        let mut words = about.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(_), Some(sentence)) => help = sentence,
            (Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    other => ("", other),
                };
                text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
                text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_older_format_names_counters_and_infos_by_their_values() {
        let open_metrics = "# HELP a_bytes All.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total{b=\"# c\"} 1\n\
            # HELP d About.\n# TYPE d info\nd_info{e=\"f\"} 1\n# HELP g Now.\n# TYPE g gauge\ng 2\n# EOF\n";
        let prometheus = "# HELP a_bytes_total All.\n# TYPE a_bytes_total counter\na_bytes_total{b=\"# c\"} 1\n\
            # HELP d_info About.\n# TYPE d_info gauge\nd_info{e=\"f\"} 1\n# HELP g Now.\n# TYPE g gauge\ng 2\n";
        assert_eq!(super::to_prometheus(open_metrics), prometheus);
    }
}
