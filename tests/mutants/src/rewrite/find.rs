//! Finds in a file the places that its mutants name by line and column.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result};
use proc_macro2::LineColumn;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, Signature};

use super::{Alternative, LeftOut, MODULE, Site};
use crate::list::{Genre, Mutant, Place};

const CONSTANT: LeftOut = LeftOut::NotTried("a constant has no switch");

/// What was found.
pub(super) struct Found {
    pub sites: Vec<Site>,
    pub left_out: Vec<(u32, LeftOut)>,
}

pub(super) fn find(source: &str, mutants: &[&Mutant]) -> Result<Found> {
    let file = syn::parse_file(source).context("parsing what is to be mutated")?;
    let mut wanted: HashMap<(Genre, Place), Vec<&Mutant>> = HashMap::new();
    for mutant in mutants {
        let key = (mutant.genre, mutant.span);
        wanted.entry(key).or_default().push(mutant);
    }
    let mut finder = Finder {
        source,
        lines: line_starts(source),
        wanted,
        constant: false,
        found: Found {
            sites: Vec::new(),
            left_out: Vec::new(),
        },
    };
    finder.visit_file(&file);
    Ok(finder.found)
}

fn line_starts(source: &str) -> Vec<usize> {
    let after = source.match_indices('\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(after).collect()
}

struct Finder<'a> {
    source: &'a str,
    lines: Vec<usize>,
    wanted: HashMap<(Genre, Place), Vec<&'a Mutant>>,
    /// Whether the place is computed by the compiler, or is a pattern.
    constant: bool,
    found: Found,
}

impl<'a> Finder<'a> {
    /// Offset of a place; columns count characters.
    fn offset(&self, at: LineColumn) -> usize {
        let line = &self.source[self.lines[at.line - 1]..];
        let column = line.char_indices().nth(at.column);
        self.lines[at.line - 1] + column.map_or(line.len(), |(bytes, _)| bytes)
    }

    fn range(&self, of: &impl Spanned) -> Range<usize> {
        self.between(of, of)
    }

    fn between(&self, first: &impl Spanned, last: &impl Spanned) -> Range<usize> {
        self.offset(first.span().start())..self.offset(last.span().end())
    }

    /// The mutants of this kind between two places; none where a switch can't be.
    fn take(&mut self, genre: Genre, first: &impl Spanned, last: &impl Spanned) -> Vec<&'a Mutant> {
        let place = Place::between(first.span().start(), last.span().end());
        let taken = self.wanted.remove(&(genre, place)).unwrap_or_default();
        if self.constant {
            self.leave_out(&taken, CONSTANT);
            return Vec::new();
        }
        taken
    }

    fn leave_out(&mut self, mutants: &[&Mutant], why: LeftOut) {
        let left_out = mutants.iter().map(|mutant| (mutant.id, why));
        self.found.left_out.extend(left_out);
    }

    /// An expression in which `cut` is replaced.
    fn choice(&mut self, range: Range<usize>, cuts: Vec<(Range<usize>, Vec<&Mutant>)>) {
        let mut alternatives = Vec::new();
        for (cut, mutants) in cuts {
            for mutant in mutants {
                let alternative = Alternative {
                    id: mutant.id,
                    cut: cut.clone(),
                    with: mutant.replacement.clone(),
                };
                if syn::parse_str::<Expr>(&alternative.text(self.source, &range)).is_ok() {
                    alternatives.push(alternative);
                } else {
                    self.leave_out(&[mutant], LeftOut::Unviable);
                }
            }
        }
        if !alternatives.is_empty() {
            self.found.sites.push(Site::Choice {
                range,
                alternatives,
            });
        }
    }

    fn insert(&mut self, at: usize, id: u32, text: String, around: Range<usize>) {
        self.found.sites.push(Site::Insert {
            at,
            id,
            text,
            around,
        });
    }

    fn function(&mut self, signature: &Signature, block: &Block, walk: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.constant, signature.constness.is_some());
        if let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) {
            let mutants = self.take(Genre::FnValue, first, last);
            let at = self.offset(first.span().start());
            if returns_some(signature) {
                let why = "`impl` as the type of a result can't have two types";
                self.leave_out(&mutants, LeftOut::NotTried(why));
            } else {
                for mutant in mutants {
                    let (id, value) = (mutant.id, &mutant.replacement);
                    let text = format!("if crate::{MODULE}::on({id}) {{ return {value}; }} ");
                    self.insert(at, id, text, self.range(block));
                }
            }
        }
        walk(self);
        self.constant = before;
    }

    fn constant(&mut self, walk: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.constant, true);
        walk(self);
        self.constant = before;
    }
}

fn returns_some(signature: &Signature) -> bool {
    let syn::ReturnType::Type(_, of) = &signature.output else {
        return false;
    };
    matches!(**of, syn::Type::ImplTrait(_))
}

/// Whether a condition binds something: `a && let Some(b) = c`.
fn binds(condition: &Expr) -> bool {
    match condition {
        Expr::Let(_) => true,
        Expr::Binary(both) if matches!(both.op, BinOp::And(_)) => {
            binds(&both.left) || binds(&both.right)
        }
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        self.function(&node.sig, &node.block, |this| {
            visit::visit_item_fn(this, node);
        });
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        self.function(&node.sig, &node.block, |this| {
            visit::visit_impl_item_fn(this, node);
        });
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        let Some(block) = &node.default else { return };
        self.function(&node.sig, block, |this| {
            visit::visit_trait_item_fn(this, node);
        });
    }

    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        let mutants = self.take(Genre::BinaryOperator, &node.op, &node.op);
        if binds(&node.left) || binds(&node.right) {
            self.leave_out(&mutants, LeftOut::Unviable);
        } else {
            let cut = self.range(&node.op);
            self.choice(self.range(node), vec![(cut, mutants)]);
        }
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        let mutants = self.take(Genre::UnaryOperator, &node.op, &node.op);
        let cut = self.range(&node.op);
        self.choice(self.range(node), vec![(cut, mutants)]);
        visit::visit_expr_unary(self, node);
    }

    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        for mutant in self.take(Genre::MatchArm, node, node) {
            let at = self.offset(node.pat.span().end());
            let text = format!(" if !crate::{MODULE}::on({})", mutant.id);
            self.insert(at, mutant.id, text, self.range(node));
        }
        if let Some((_, guard)) = &node.guard {
            let mutants = self.take(Genre::MatchArmGuard, guard, guard);
            if binds(guard) {
                let why = "a guard that binds can't be put in an expression";
                self.leave_out(&mutants, LeftOut::NotTried(why));
            } else {
                let range = self.range(guard);
                self.choice(range.clone(), vec![(range, mutants)]);
            }
        }
        visit::visit_arm(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'ast syn::ExprStruct) {
        let mut cuts = Vec::new();
        for pair in node.fields.pairs() {
            let (field, comma) = pair.into_tuple();
            let (mutants, cut) = match comma {
                Some(comma) => {
                    let mutants = self.take(Genre::StructField, field, comma);
                    (mutants, self.between(field, comma))
                }
                None => (
                    self.take(Genre::StructField, field, field),
                    self.range(field),
                ),
            };
            cuts.push((cut, mutants));
        }
        self.choice(self.range(node), cuts);
        visit::visit_expr_struct(self, node);
    }

    fn visit_item_const(&mut self, node: &'ast syn::ItemConst) {
        self.constant(|this| visit::visit_item_const(this, node));
    }

    fn visit_item_static(&mut self, node: &'ast syn::ItemStatic) {
        self.constant(|this| visit::visit_item_static(this, node));
    }

    fn visit_impl_item_const(&mut self, node: &'ast syn::ImplItemConst) {
        self.constant(|this| visit::visit_impl_item_const(this, node));
    }

    fn visit_trait_item_const(&mut self, node: &'ast syn::TraitItemConst) {
        self.constant(|this| visit::visit_trait_item_const(this, node));
    }

    fn visit_expr_const(&mut self, node: &'ast syn::ExprConst) {
        self.constant(|this| visit::visit_expr_const(this, node));
    }

    fn visit_expr_repeat(&mut self, node: &'ast syn::ExprRepeat) {
        self.visit_expr(&node.expr);
        self.constant(|this| this.visit_expr(&node.len));
    }

    fn visit_type(&mut self, node: &'ast syn::Type) {
        self.constant(|this| visit::visit_type(this, node));
    }

    fn visit_generic_argument(&mut self, node: &'ast syn::GenericArgument) {
        self.constant(|this| visit::visit_generic_argument(this, node));
    }

    fn visit_variant(&mut self, node: &'ast syn::Variant) {
        self.constant(|this| visit::visit_variant(this, node));
    }

    fn visit_pat(&mut self, node: &'ast syn::Pat) {
        self.constant(|this| visit::visit_pat(this, node));
    }
}
