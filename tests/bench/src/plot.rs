//! How figures grow: a table, what the last step of it says, and a picture.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// How a figure should grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Not at all.
    Flat,
    /// No faster than what it depends on.
    Linear,
}

impl Target {
    /// The exponent of growth that noise may reach.
    fn most(self) -> f64 {
        match self {
            Self::Flat => 0.15,
            Self::Linear => 1.15,
        }
    }
}

/// One figure of a table, its unit in the name.
type Column = (&'static str, Target);

/// Figures over something that grows.
pub(crate) struct Growth {
    /// What grows.
    of: &'static str,
    columns: Vec<Column>,
    rows: Vec<(usize, Vec<f64>)>,
}

impl Growth {
    pub(crate) fn new(of: &'static str, columns: &[Column]) -> Self {
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        println!("{of:>10} | {}", names.join(" | "));
        Self {
            of,
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Prints a row and keeps it.
    pub(crate) fn row(&mut self, size: usize, figures: Vec<f64>) {
        let padded = figures
            .iter()
            .zip(&self.columns)
            .map(|(figure, (name, _))| format!("{figure:>width$.2}", width = name.len()));
        println!("{size:>10} | {}", padded.collect::<Vec<_>>().join(" | "));
        self.rows.push((size, figures));
    }

    /// Says how each figure grows from the last size but one to the last: as the
    /// size to the power of so much.
    pub(crate) fn conclude(&self) {
        for (at, (name, target)) in self.columns.iter().enumerate() {
            if let Some(exponent) = self.exponent(at) {
                let verdict = if exponent <= target.most() {
                    "as it should"
                } else {
                    "FASTER THAN IT SHOULD"
                };
                let of = self.of;
                println!("  {name}: {of}^{exponent:.2} (target {target:?}): {verdict}");
            }
        }
    }

    fn exponent(&self, column: usize) -> Option<f64> {
        let [.., (small, before), (large, after)] = self.rows.as_slice() else {
            return None;
        };
        let exponent = (after[column] / before[column]).ln() / (*large as f64 / *small as f64).ln();
        exponent.is_finite().then_some(exponent)
    }

    /// A figure's course, as multiples of its first value. What is nothing, or too
    /// little to be seen, has no place on a logarithmic axis.
    fn course(&self, column: usize) -> Vec<(f64, f64)> {
        let seen = self.rows.iter().filter(|(_, row)| row[column] > 0.0);
        let mut seen = seen.map(|(size, row)| (*size as f64, row[column]));
        let Some((size, first)) = seen.next() else {
            return Vec::new();
        };
        let rest = seen.map(|(size, figure)| (size, figure / first));
        std::iter::once((size, 1.0)).chain(rest).collect()
    }
}

/// Draws all tables into one SVG file, each with both axes logarithmic.
pub(crate) fn draw(tables: &[Growth], file: &Path) -> Result<()> {
    let height = 360 * tables.len().max(1) as u32;
    let root = SVGBackend::new(file, (760, height)).into_drawing_area();
    root.fill(&WHITE).map_err(|e| anyhow!("{e}"))?;
    for (table, area) in tables.iter().zip(root.split_evenly((tables.len(), 1))) {
        chart(table, &area).map_err(|e| anyhow!("drawing {}: {e}", table.of))?;
    }
    root.present().map_err(|e| anyhow!("{e}"))?;
    println!("drawn into {}", file.display());
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn chart(table: &Growth, area: &Area<'_>) -> Drawn {
    let courses: Vec<_> = (0..table.columns.len())
        .map(|at| table.course(at))
        .collect();
    let (low, high) = bounds(&courses);
    let sizes = table.rows.iter().map(|(size, _)| *size as f64);
    let (first, last) = sizes.fold((f64::MAX, 1.0), |(a, b), x| (a.min(x), f64::max(b, x)));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d((first..last * 1.01).log_scale(), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(table.of)
        .y_desc("times the first")
        .draw()?;
    for (at, course) in courses.into_iter().enumerate() {
        let style = Palette99::pick(at).stroke_width(2);
        chart
            .draw_series(LineSeries::new(course, style))?
            .label(table.columns[at].0)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .position(SeriesLabelPosition::UpperLeft)
        .draw()?;
    Ok(())
}

fn bounds(courses: &[Vec<(f64, f64)>]) -> (f64, f64) {
    let values = courses.iter().flatten().map(|(_, y)| *y);
    let (low, high) = values.fold((0.5, 10.0), |(a, b), y| (f64::min(a, y), f64::max(b, y)));
    (low * 0.9, high * 1.1)
}
