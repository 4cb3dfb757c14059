//! A table and a plot of figures.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use plotters::prelude::*;
use serde::Deserialize;

/// As a bench has printed it.
#[derive(Deserialize)]
pub struct Figure {
    bench: String,
    case: String,
    flows: u64,
    unit: String,
    median: f64,
    min: f64,
    max: f64,
    runs: u64,
    calibration: Option<f64>,
    cpu_share: Option<f64>,
}

/// From lines of JSON. The error names the line that is none.
pub fn read(text: &str) -> Result<Vec<Figure>, String> {
    let one = |line| serde_json::from_str(line).map_err(|error| format!("{error} in {line}"));
    text.lines().map(one).collect()
}

pub fn table(title: &str, figures: &[Figure]) -> String {
    let mut text = format!(
        "{title}\n\n| bench | case | flows | median | min | max | unit | runs | calibration | CPU |\n\
         |---|---|--:|--:|--:|--:|---|--:|--:|--:|\n"
    );
    for figure in figures {
        let Figure { bench, case, flows, unit, median, min, max, runs, .. } = figure;
        let calibration = figure.calibration.map(short).unwrap_or_default();
        let cpu = figure.cpu_share.map(|share| format!("{:.0} %", share * 100.0)).unwrap_or_default();
        let (flows, median, min, max) = (count(*flows), short(*median), short(*min), short(*max));
        let _ = writeln!(
            text,
            "| {bench} | {case} | {flows} | **{median}** | {min} | {max} | {unit} | {runs} | {calibration} | {cpu} |"
        );
    }
    text
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        ..10.0 => format!("{value:.2}"),
        ..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// 1000 → 1k.
fn count(flows: u64) -> String {
    match flows {
        0 => String::new(),
        1_000_000.. if flows.is_multiple_of(1_000_000) => format!("{}M", flows / 1_000_000),
        1_000.. if flows.is_multiple_of(1_000) => format!("{}k", flows / 1_000),
        _ => flows.to_string(),
    }
}

/// A line for each case that has figures for several numbers of flows. `None` where there is nothing to draw.
pub fn plot(title: &str, figures: &[Figure]) -> Option<String> {
    let mut lines: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
    for figure in figures.iter().filter(|figure| figure.unit == "ns/packet") {
        let name = format!("{}: {}", figure.bench, figure.case);
        lines.entry(name).or_default().push((figure.flows.max(1), figure.median));
    }
    let points = || lines.values().flatten();
    let most_flows = points().map(|(flows, _)| *flows).max()?;
    let most_nanos = points().map(|(_, nanos)| *nanos).fold(0.0, f64::max);
    let mut drawing = String::new();
    {
        let area = SVGBackend::with_string(&mut drawing, (1000, 600)).into_drawing_area();
        draw(&area, title, &lines, most_flows, most_nanos).unwrap_or_else(|e| panic!("cannot draw: {e}"));
    }
    Some(drawing)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(
    area: &Area<'_>,
    title: &str,
    lines: &BTreeMap<String, Vec<(u64, f64)>>,
    most_flows: u64,
    most_nanos: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 14))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((1..most_flows * 2).log_scale(), 0.0..most_nanos * 1.1)?;
    chart
        .configure_mesh()
        .x_desc("flows")
        .y_desc("nanoseconds a packet")
        .x_label_formatter(&|flows| count(*flows))
        .draw()?;
    for (index, (name, points)) in lines.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let mut points = points.clone();
        points.sort_by_key(|(flows, _)| *flows);
        let line = LineSeries::new(points, colour.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
