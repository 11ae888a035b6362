//! Puts all mutants of a file into its text, each behind a switch: one build holds
//! them all, and an environment variable says which one is alive.
//!
//! An expression becomes `(if on(1) {a != b} else {a == b})`; what a mutant puts
//! in is the text of `cargo mutants`, in the expression it stands in. What must
//! stay true: with no mutant alive the file does what it did.

mod find;

use std::ops::Range;

use anyhow::{Context, Result, ensure};

use crate::list::Mutant;

/// The name of the module that [`crate::switch`] becomes in a mutated crate.
pub const MODULE: &str = "airlock_mutant";

/// A file with its mutants.
#[derive(Debug, Default)]
pub struct Rewritten {
    pub text: String,
    /// What in it belongs to one mutant alone.
    pub own: Vec<(u32, Range<usize>)>,
    /// Mutants that are not in it, and why.
    pub left_out: Vec<(u32, LeftOut)>,
    /// Where text was copied from: offsets in it and in the source.
    copied: Vec<(usize, usize)>,
    /// What of the source a mutant may disturb by being put in.
    around: Vec<(Range<usize>, Vec<u32>)>,
}

/// Why a mutant is not in the build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// It does not compile, whatever tries it.
    Unviable,
    /// A switch can't be put there.
    NotTried(&'static str),
}

/// A place of the source that changes.
#[derive(Debug)]
enum Site {
    /// An expression, and what stands there instead.
    Choice {
        range: Range<usize>,
        alternatives: Vec<Alternative>,
    },
    /// Text that is put in.
    Insert {
        at: usize,
        id: u32,
        text: String,
        around: Range<usize>,
    },
}

/// The expression with one part of it replaced.
#[derive(Debug)]
struct Alternative {
    id: u32,
    cut: Range<usize>,
    with: String,
}

impl Site {
    fn range(&self) -> Range<usize> {
        match self {
            Self::Choice { range, .. } => range.clone(),
            Self::Insert { at, .. } => *at..*at,
        }
    }

    fn disturbed(&self) -> (Range<usize>, Vec<u32>) {
        match self {
            Self::Choice {
                range,
                alternatives,
            } => {
                let ids = alternatives.iter().map(|alternative| alternative.id);
                (range.clone(), ids.collect())
            }
            Self::Insert { id, around, .. } => (around.clone(), vec![*id]),
        }
    }
}

/// The file with all these mutants in it.
pub fn rewrite(source: &str, mutants: &[&Mutant]) -> Result<Rewritten> {
    let found = find::find(source, mutants)?;
    let mut sites = found.sites;
    // What contains others comes before them, an insertion before what follows it.
    sites.sort_by_key(|site| {
        let range = site.range();
        let inserts = matches!(site, Site::Insert { .. });
        (range.start, !inserts, std::cmp::Reverse(range.end))
    });
    let mut rewritten = Rewritten {
        left_out: found.left_out,
        around: sites.iter().map(Site::disturbed).collect(),
        ..Rewritten::default()
    };
    rewritten.render(source, 0..source.len(), &sites);
    syn::parse_file(&rewritten.text).context("what came out is not Rust")?;
    let known = rewritten.own.len() + rewritten.left_out.len();
    ensure!(
        known == mutants.len(),
        "{known} of {} mutants were found in the source",
        mutants.len()
    );
    Ok(rewritten)
}

impl Rewritten {
    /// Writes the source with the sites in it.
    fn render(&mut self, source: &str, range: Range<usize>, sites: &[Site]) {
        let mut at = range.start;
        let mut rest = sites;
        while let [site, after @ ..] = rest {
            self.copy(source, at..site.range().start);
            let within = after.partition_point(|other| other.range().start < site.range().end);
            at = site.range().end;
            match site {
                Site::Insert { id, text, .. } => {
                    self.alone(*id, |out| out.push_str(text));
                    rest = after;
                }
                Site::Choice {
                    range,
                    alternatives,
                } => {
                    self.choice(source, range, alternatives, &after[..within]);
                    rest = &after[within..];
                }
            }
        }
        self.copy(source, at..range.end);
    }

    fn choice(
        &mut self,
        source: &str,
        range: &Range<usize>,
        alternatives: &[Alternative],
        within: &[Site],
    ) {
        self.text.push('(');
        for alternative in alternatives {
            self.alone(alternative.id, |out| {
                let (id, text) = (alternative.id, alternative.text(source, range));
                out.push_str(&format!("if crate::{MODULE}::on({id}) {{{text}}} else "));
            });
        }
        self.text.push('{');
        self.render(source, range.clone(), within);
        self.text.push_str("})");
    }

    fn copy(&mut self, source: &str, range: Range<usize>) {
        self.copied.push((self.text.len(), range.start));
        self.text.push_str(&source[range]);
    }

    fn alone(&mut self, id: u32, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        write(&mut self.text);
        self.own.push((id, start..self.text.len()));
    }

    /// The mutant that the text at this offset belongs to.
    pub fn owner(&self, at: usize) -> Option<u32> {
        let found = self.own.iter().find(|(_, range)| range.contains(&at));
        found.map(|(id, _)| *id)
    }

    /// The mutants whose switches are closest around this offset.
    pub fn closest(&self, at: usize) -> &[u32] {
        let copied = self.copied.partition_point(|(written, _)| *written <= at);
        let Some((written, read)) = copied.checked_sub(1).map(|last| self.copied[last]) else {
            return &[];
        };
        let at = read + (at - written);
        let around = self.around.iter().filter(|(range, _)| range.contains(&at));
        let closest = around.min_by_key(|(range, _)| range.len());
        closest.map_or(&[], |(_, ids)| ids)
    }
}

impl Alternative {
    /// The expression as the mutant has it.
    fn text(&self, source: &str, range: &Range<usize>) -> String {
        let before = &source[range.start..self.cut.start];
        let after = &source[self.cut.end..range.end];
        format!("{before}{}{after}", self.with)
    }
}

#[cfg(test)]
mod tests;
