//! Lines over time as SVG: one figure, some panels with the same axes, one colour per series.
//!
//! By hand: these are two hundred lines, and a library that draws everything would be more code than millstream.

use std::fmt::Write as _;

/// Size of the drawing area of one panel, and what is around it, in pixels.
const PANEL: (f64, f64) = (360.0, 230.0);
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const ABOVE: f64 = 34.0;
const BELOW: f64 = 50.0;
/// Height of the title and the legend above all panels.
const HEAD: f64 = 88.0;
const COLUMNS: usize = 3;
/// Colours that colour-blind people can tell apart (Okabe and Ito), and that print.
const COLOURS: [&str; 6] = ["#d55e00", "#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9"];
/// Dashes in addition to colours, for readers who see none.
const DASHES: [&str; 6] = ["", "7 3", "2 3", "", "9 3 2 3", "4 4"];
/// Widths of lines: a line that lies on another must not hide it.
const WIDTHS: [f64; 6] = [2.0, 2.0, 2.4, 2.0, 2.0, 2.0];

/// One axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// With its unit.
    pub(super) label: &'static str,
    pub(super) is_log: bool,
    /// Its lower end, above 0 with `is_log`; smaller values are drawn there.
    pub(super) floor: f64,
    /// Its upper end; larger values are drawn there. `None` takes the largest value.
    pub(super) ceiling: Option<f64>,
}

/// A line.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// One drawing of a figure.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) series: Vec<Series>,
}

/// Panels that can be compared: they share the vertical axis, the legend and the colours.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) panels: Vec<Panel>,
}

/// An axis with its end and the marks on it.
struct Scale {
    axis: Axis,
    end: f64,
    marks: Vec<f64>,
}

impl Scale {
    fn of(axis: Axis, values: impl Iterator<Item = f64>) -> Scale {
        let most = values.filter(|value| value.is_finite()).fold(axis.floor, f64::max);
        let most = axis.ceiling.unwrap_or(most);
        if axis.is_log {
            let first = axis.floor.log10().floor();
            let last = most.max(axis.floor * 10.0).log10().ceil();
            let decades = (last - first) as i32;
            // More than six labels would stand too close to each other.
            let step = ((decades + 5) / 6).max(1);
            let marks = (0..=decades).filter(|at| at % step == 0).map(|at| 10f64.powf(first + f64::from(at))).collect();
            return Scale { axis, end: 10f64.powf(last), marks };
        }
        let span = (most - axis.floor).max(1e-9);
        let rough = 10f64.powf((span / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|of| of * rough).into_iter().find(|step| span / step <= 5.5);
        let step = step.unwrap_or(span);
        let count = ((span / step) - 1e-9).ceil().max(1.0);
        let marks = (0..=count as u32).map(|at| axis.floor + f64::from(at) * step).collect();
        Scale { axis, end: axis.floor + count * step, marks }
    }

    /// The place of a value, 0 to 1.
    fn at(&self, value: f64) -> f64 {
        let place = if self.axis.is_log {
            let value = value.max(self.axis.floor);
            (value / self.axis.floor).log10() / (self.end / self.axis.floor).log10()
        } else {
            (value - self.axis.floor) / (self.end - self.axis.floor)
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }
}

impl Figure {
    /// The figure as a file.
    pub(super) fn svg(&self) -> String {
        let columns = self.panels.len().clamp(1, COLUMNS);
        let rows = self.panels.len().div_ceil(columns).max(1);
        let cell = (LEFT + PANEL.0 + RIGHT, ABOVE + PANEL.1 + BELOW);
        let width = cell.0 * columns as f64;
        let height = HEAD + cell.1 * rows as f64;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        text(&mut out, (LEFT, 28.0), "start", "font-size=\"18\" font-weight=\"bold\"", &self.title);
        text(&mut out, (LEFT, 46.0), "start", "fill=\"#666\"", &self.subtitle);
        self.legend(&mut out);
        let values = self.panels.iter().flat_map(|panel| &panel.series).flat_map(|series| &series.points);
        let y = Scale::of(self.y, values.map(|(_, y)| *y));
        for (number, panel) in self.panels.iter().enumerate() {
            let at = (cell.0 * (number % columns) as f64 + LEFT, HEAD + cell.1 * (number / columns) as f64 + ABOVE);
            self.panel(&mut out, at, panel, &y);
        }
        out.push_str("</svg>\n");
        out
    }

    /// The names of all series, in the order in which they are first met: that order gives the colours.
    fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for series in self.panels.iter().flat_map(|panel| &panel.series) {
            if !names.contains(&series.name.as_str()) {
                names.push(series.name.as_str());
            }
        }
        names
    }

    fn legend(&self, out: &mut String) {
        let mut x = LEFT;
        for (number, name) in self.names().into_iter().enumerate() {
            out.push_str(&format!("<path d=\"M{x:.1} 68h28\" {}/>\n", stroke(number)));
            text(out, (x + 34.0, 72.0), "start", "", name);
            // About seven pixels a letter, and some air.
            x += 34.0 + 7.0 * name.chars().count() as f64 + 18.0;
        }
    }

    fn panel(&self, out: &mut String, at: (f64, f64), panel: &Panel, y: &Scale) {
        let points = panel.series.iter().flat_map(|series| &series.points);
        let x = Scale::of(self.x, points.map(|(x, _)| *x));
        let place = |value: (f64, f64)| (at.0 + x.at(value.0) * PANEL.0, at.1 + (1.0 - y.at(value.1)) * PANEL.1);
        text(out, (at.0, at.1 - 10.0), "start", "font-weight=\"bold\"", &panel.title);
        for mark in &y.marks {
            let (_, level) = place((0.0, *mark));
            out.push_str(&format!("<path d=\"M{:.1} {level:.1}h{}\" stroke=\"#ddd\"/>\n", at.0, PANEL.0));
            text(out, (at.0 - 6.0, level + 4.0), "end", "", &number(*mark));
        }
        for mark in &x.marks {
            let (place, _) = place((*mark, 0.0));
            out.push_str(&format!("<path d=\"M{place:.1} {:.1}v4\" stroke=\"#222\"/>\n", at.1 + PANEL.1));
            text(out, (place, at.1 + PANEL.1 + 17.0), "middle", "", &number(*mark));
        }
        out.push_str(&format!(
            "<path d=\"M{:.1} {:.1}v{}h{}\" fill=\"none\" stroke=\"#222\"/>\n",
            at.0, at.1, PANEL.1, PANEL.0
        ));
        text(out, (at.0 + PANEL.0 / 2.0, at.1 + PANEL.1 + 36.0), "middle", "fill=\"#666\"", self.x.label);
        let left = at.0 - 54.0;
        let middle = at.1 + PANEL.1 / 2.0;
        let turned = format!("fill=\"#666\" transform=\"rotate(-90 {left:.1} {middle:.1})\"");
        text(out, (left, middle), "middle", &turned, self.y.label);
        let names = self.names();
        for series in &panel.series {
            let number = names.iter().position(|name| *name == series.name).unwrap_or(0);
            let mut line = String::new();
            for point in series.points.iter().filter(|point| point.0.is_finite() && point.1.is_finite()) {
                let (x, y) = place(*point);
                // Writing into a string does not fail.
                write!(line, "{x:.1},{y:.1} ").ok();
            }
            out.push_str(&format!("<polyline points=\"{}\" {}><title>", line.trim_end(), stroke(number)));
            out.push_str(&format!("{}</title></polyline>\n", escaped(&series.name)));
        }
    }
}

fn stroke(number: usize) -> String {
    let pick = number % COLOURS.len();
    let colour = COLOURS.get(pick).copied().unwrap_or("#222");
    let dash = DASHES.get(pick).filter(|dash| !dash.is_empty());
    let dash = dash.map_or_else(String::new, |dash| format!(" stroke-dasharray=\"{dash}\""));
    let width = WIDTHS.get(pick).copied().unwrap_or(2.0);
    format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"{dash}")
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, style: &str, words: &str) {
    let (x, y) = at;
    out.push_str(&format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{}</text>\n",
        escaped(words)
    ));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A mark's number: 20k, 0.01.
fn number(value: f64) -> String {
    match value.abs() {
        1e6.. => format!("{}M", trimmed(value / 1e6)),
        1e3.. => format!("{}k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(axis: Axis) -> Figure {
        let series = |name: &str, of: f64| Series {
            name: name.to_owned(),
            points: (0..5).map(|at| (f64::from(at), f64::from(at) * of)).collect(),
        };
        let panel =
            |title: &str| Panel { title: title.to_owned(), series: vec![series("a <b> & c", 1.0), series("d", 1e5)] };
        Figure {
            title: "One & all".to_owned(),
            subtitle: "2 cores <quiet>".to_owned(),
            x: Axis { label: "seconds", is_log: false, floor: 0.0, ceiling: None },
            y: axis,
            panels: ["20 events/s", "200 events/s", "2000 events/s", "behind"].map(panel).to_vec(),
        }
    }

    /// Every element is closed by its own end, every attribute is quoted, and no text holds what begins an element.
    fn is_well_formed(text: &str) {
        let mut open = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('<') {
            let words = rest.split_at(at).0;
            assert!(!words.contains('>'), "{words}");
            let entities = words.split('&').skip(1);
            entities.for_each(|after| {
                assert!(["amp;", "lt;", "gt;"].iter().any(|name| after.starts_with(name)), "{after}")
            });
            let end = rest.find('>').unwrap();
            let element = rest.get(at + 1..end).unwrap();
            assert!(!element.contains('<') && element.matches('"').count() % 2 == 0, "{element}");
            match element.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{element}"),
                None if element.ends_with('/') => {}
                None => open.push(element.split_whitespace().next().unwrap()),
            }
            rest = rest.split_at(end + 1).1;
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn a_figure_is_well_formed_and_shows_every_series_in_every_panel() {
        for is_log in [false, true] {
            let svg = figure(Axis { label: "ms", is_log, floor: f64::from(u8::from(is_log)), ceiling: None }).svg();
            is_well_formed(&svg);
            assert_eq!(svg.matches("<polyline").count(), 8);
            for words in ["a &lt;b&gt; &amp; c", "One &amp; all", "2000 events/s", ">ms<", ">seconds<"] {
                assert!(svg.contains(words), "{words}");
            }
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
        }
    }

    #[test]
    fn what_cannot_be_drawn_does_no_harm() {
        let mut figure = figure(Axis { label: "ms", is_log: true, floor: 0.01, ceiling: None });
        for panel in &mut figure.panels {
            panel.series =
                vec![Series { name: "odd".to_owned(), points: vec![(0.0, f64::NAN), (1.0, -5.0), (2.0, 0.0)] }];
        }
        let svg = figure.svg();
        is_well_formed(&svg);
        assert!(!svg.contains("NaN"));
        figure.panels.clear();
        is_well_formed(&figure.svg());
    }

    #[test]
    fn marks_are_round_numbers_around_the_values() {
        let marks = |is_log, floor, most: f64| {
            let scale = Scale::of(Axis { label: "", is_log, floor, ceiling: None }, [most].into_iter());
            assert!(scale.end >= most && (scale.at(scale.end) - 1.0).abs() < 1e-9);
            scale.marks.into_iter().map(number).collect::<Vec<_>>()
        };
        assert_eq!(marks(false, 0.0, 23.0), ["0", "5", "10", "15", "20", "25"]);
        assert_eq!(marks(false, 0.0, 20_400.0), ["0", "5k", "10k", "15k", "20k", "25k"]);
        assert_eq!(marks(true, 0.01, 7_000.0), ["0.01", "0.1", "1", "10", "100", "1k", "10k"]);
    }
}
