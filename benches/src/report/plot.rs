//! A line plot over a few named places, as SVG.
//!
//! Loads stand side by side at even distances, in the order in which they ran: they may double from one to the next, or
//! end with one that has no number.

use std::fmt::Write;

use super::escape;

/// Size of a plot, and of the margins around its field.
const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 40.0;
/// Lines of the grid, about.
const NUM_TICKS: f64 = 5.0;
/// Colours that the style sheet knows.
const NUM_COLOURS: usize = 6;

/// Values over places.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plot {
    pub(super) title: String,
    /// Of the values.
    pub(super) unit: String,
    /// From left to right.
    pub(super) places: Vec<String>,
    pub(super) series: Vec<Series>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) name: String,
    /// One for each place, if it was measured there.
    pub(super) values: Vec<Option<f64>>,
}

impl Plot {
    /// The plot as an SVG element.
    pub(super) fn svg(&self) -> String {
        let mut svg = String::new();
        let title = escape(&self.title);
        let _ = writeln!(
            svg,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title} by load\">\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"20\">{title}, {}</text>",
            escape(&self.unit)
        );
        let values = self.series.iter().flat_map(|series| series.values.iter().flatten());
        let step = tick_step(values.fold(0.0_f64, |most, &value| most.max(value)));
        let num_steps = self.num_steps(step);
        self.grid(&mut svg, step, num_steps);
        for (index, series) in self.series.iter().enumerate() {
            self.legend(&mut svg, index, series);
            self.line(&mut svg, index % NUM_COLOURS, series, step * num_steps);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn num_steps(&self, step: f64) -> f64 {
        let values = self.series.iter().flat_map(|series| series.values.iter().flatten());
        (values.fold(0.0_f64, |most, &value| most.max(value)) / step).ceil().max(1.0)
    }

    fn grid(&self, svg: &mut String, step: f64, num_steps: f64) {
        let top = step * num_steps;
        for tick in 0..=num_steps as usize {
            let value = step * tick as f64;
            let y = y_of(value, top);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                tick_label(value, step)
            );
        }
        for (index, place) in self.places.iter().enumerate() {
            let (x, y) = (self.x_of(index), HEIGHT - BOTTOM + 18.0);
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
                escape(place)
            );
        }
        let (x, y) = (f64::midpoint(LEFT, WIDTH - RIGHT), HEIGHT - 6.0);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">load</text>");
    }

    fn legend(&self, svg: &mut String, index: usize, series: &Series) {
        // Room for the longest name; about seven units a letter.
        let longest = self.series.iter().map(|series| series.name.len()).max().unwrap_or(0);
        let x = LEFT + index as f64 * (30.0 + 7.0 * longest as f64);
        let _ = writeln!(
            svg,
            "<rect class=\"s{}\" x=\"{x:.1}\" y=\"32\" width=\"12\" height=\"4\"/><text x=\"{:.1}\" y=\"38\">{}</text>",
            index % NUM_COLOURS,
            x + 18.0,
            escape(&series.name)
        );
    }

    fn line(&self, svg: &mut String, colour: usize, series: &Series, top: f64) {
        let measured = series.values.iter().enumerate().filter_map(|(index, value)| Some((index, (*value)?)));
        let points: Vec<String> = measured
            .clone()
            .map(|(index, value)| format!("{:.1},{:.1}", self.x_of(index), y_of(value, top)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline class=\"line s{colour}\" style=\"fill:none\" points=\"{}\"/>",
            points.join(" ")
        );
        for (index, value) in measured {
            let place = self.places.get(index).map(|place| escape(place)).unwrap_or_default();
            let _ = writeln!(
                svg,
                "<circle class=\"s{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{} at {place}: {value:.2}</title></circle>",
                self.x_of(index),
                y_of(value, top),
                escape(&series.name)
            );
        }
    }

    /// Places stand in the middle of columns of equal width.
    fn x_of(&self, index: usize) -> f64 {
        let width = (WIDTH - LEFT - RIGHT) / self.places.len().max(1) as f64;
        LEFT + width * (index as f64 + 0.5)
    }
}

fn y_of(value: f64, top: f64) -> f64 {
    HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top
}

/// The distance of the grid's lines: 1, 2 or 5 times a power of ten, so that about five reach `most`.
fn tick_step(most: f64) -> f64 {
    if !(most.is_finite() && most > 0.0) {
        return 1.0;
    }
    let raw = most / NUM_TICKS;
    let power = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| raw <= factor * power * 1.000_001).unwrap_or(10.0);
    factor * power
}

fn tick_label(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        for (most, step) in
            [(1.0, 0.2), (9.0, 2.0), (10.0, 2.0), (11.0, 5.0), (730.0, 200.0), (0.03, 0.01), (0.0, 1.0)]
        {
            assert!((tick_step(most) / step - 1.0).abs() < 1e-9, "{most}: {}", tick_step(most));
        }
        assert_eq!([tick_label(0.4, 0.2), tick_label(400.0, 200.0)], ["0.4", "400"]);
    }

    #[test]
    fn a_place_that_was_not_measured_has_no_point() {
        let series = vec![Series { name: "p50".to_owned(), values: vec![Some(10.0), None, Some(20.0)] }];
        let places = ["1", "2", "<3>"].map(str::to_owned).to_vec();
        let svg = Plot { title: "t".to_owned(), unit: "ms".to_owned(), places, series }.svg();
        assert_eq!((svg.matches("<circle").count(), svg.matches("<polyline").count()), (2, 1));
        assert!(svg.contains("points=\"188.3,170.0 661.7,60.0\""), "{svg}");
        assert!(svg.contains("&lt;3&gt;") && !svg.contains("<3>"));
    }

    #[test]
    fn a_plot_of_nothing_is_still_well_formed() {
        let svg =
            Plot { title: String::new(), unit: String::new(), places: Vec::new(), series: Vec::new() }.svg();
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"));
    }
}
