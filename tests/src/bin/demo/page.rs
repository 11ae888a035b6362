//! What the demo prints: one page a newcomer can read from top to bottom.

use std::path::Path;
use std::time::Duration;

/// Width of the page in characters.
const WIDTH: usize = 96;

/// The page, printed as it is made.
#[derive(Default)]
pub(crate) struct Page {
    step: usize,
}

impl Page {
    pub(crate) fn title(&self, text: &str) {
        println!("\n{text}\n{}", "=".repeat(text.chars().count().min(WIDTH)));
    }

    /// A numbered step.
    pub(crate) fn step(&mut self, text: &str) {
        self.step += 1;
        println!("\n{}. {text}", self.step);
    }

    /// A line of a step.
    pub(crate) fn line(&self, text: &str) {
        for line in text.lines() {
            println!("   {line}");
        }
    }

    pub(crate) fn end(&self, took: Duration, kept: Option<&Path>) {
        println!(
            "\nDone in {:.1} s. Next: README.md shows how to write a plugin of your own.",
            took.as_secs_f64()
        );
        match kept {
            Some(folder) => println!("The report is {}/out/report.html.", folder.display()),
            None => println!("To keep the report: cargo xtask demo --keep FOLDER"),
        }
    }
}
