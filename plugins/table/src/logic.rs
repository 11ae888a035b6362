//! Makes queries mean what SQL says where the engine would leave rows out without
//! a word.
//!
//! It gives NULL for `TRUE OR NULL` and `FALSE AND NULL`. Each AND and OR becomes a
//! CASE over a sum in which each side stands once. The conjunctions at the top of
//! WHERE, HAVING and ON stay, since NULL and FALSE are the same there, and the
//! engine finds its join keys in them.
//!
//! It never finds a decimal equal to a literal such as `1.5`. Literals that are
//! compared or calculated with become decimals.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, JoinConstraint, JoinOperator, Query,
    SetExpr, Statement, UnaryOperator, Value, VisitMut, VisitorMut,
};

/// Stands for a conjunction that stays.
const KEPT: &str = "kept conjunction";

pub(crate) fn repair(statement: &mut Statement) {
    let _: ControlFlow<()> = statement.visit(&mut Repair);
}

struct Repair;

impl VisitorMut for Repair {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        conditions(query, &mut |condition| {
            swap(
                condition,
                &BinaryOperator::And,
                &BinaryOperator::Custom(KEPT.into()),
            )
        });
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Or,
                right,
            } => *expr = either(left, right),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And,
                right,
            } => *expr = both(left, right),
            Expr::BinaryOp { left, op, right } if !matches!(op, BinaryOperator::Custom(_)) => {
                decimal(left);
                decimal(right);
            }
            Expr::InList { expr, list, .. } => {
                decimal(expr);
                list.iter_mut().for_each(decimal);
            }
            Expr::Between {
                expr, low, high, ..
            } => [expr, low, high].into_iter().for_each(|side| decimal(side)),
            Expr::Case {
                operand: Some(operand),
                conditions,
                ..
            } => {
                decimal(operand);
                conditions.iter_mut().for_each(decimal);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        conditions(query, &mut |condition| {
            swap(
                condition,
                &BinaryOperator::Custom(KEPT.into()),
                &BinaryOperator::And,
            )
        });
        ControlFlow::Continue(())
    }
}

/// Calls `change` with each condition of a query in which NULL counts as FALSE.
fn conditions(query: &mut Query, change: &mut dyn FnMut(&mut Expr)) {
    let SetExpr::Select(select) = &mut *query.body else {
        return;
    };
    let joins = select.from.iter_mut().flat_map(|table| &mut table.joins);
    let on = joins.filter_map(|join| match &mut join.join_operator {
        JoinOperator::Inner(JoinConstraint::On(condition))
        | JoinOperator::LeftOuter(JoinConstraint::On(condition)) => Some(condition),
        _ => None,
    });
    on.chain(&mut select.selection)
        .chain(&mut select.having)
        .for_each(change);
}

/// Replaces the operator of a chain of conjunctions.
fn swap(expr: &mut Expr, from: &BinaryOperator, to: &BinaryOperator) {
    match expr {
        Expr::Nested(inner) => swap(inner, from, to),
        Expr::BinaryOp { left, op, right } if op == from => {
            *op = to.clone();
            swap(left, from, to);
            swap(right, from, to);
        }
        _ => {}
    }
}

/// `left OR right`: TRUE weighs 3 and FALSE 0.
fn either(left: &mut Expr, right: &mut Expr) -> Expr {
    by_sum([weigh(left, 3, 0), weigh(right, 3, 0)], false)
}

/// `left AND right`: TRUE weighs 0 and FALSE 3.
fn both(left: &mut Expr, right: &mut Expr) -> Expr {
    by_sum([weigh(left, 0, 3), weigh(right, 0, 3)], true)
}

/// `CASE left + right WHEN 0 THEN zero WHEN 1 THEN NULL WHEN 2 THEN NULL ELSE NOT zero END`
fn by_sum([left, right]: [Expr; 2], zero: bool) -> Expr {
    let sum = Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::Plus,
        right: Box::new(right),
    };
    let results = vec![
        boolean(zero),
        Expr::Value(Value::Null),
        Expr::Value(Value::Null),
    ];
    case(sum, (0..3).map(number).collect(), results, boolean(!zero))
}

/// `CASE side WHEN TRUE THEN on_true WHEN FALSE THEN on_false ELSE 1 END`
fn weigh(side: &mut Expr, on_true: u8, on_false: u8) -> Expr {
    let side = std::mem::replace(side, Expr::Value(Value::Null));
    case(
        side,
        vec![boolean(true), boolean(false)],
        vec![number(on_true), number(on_false)],
        number(1),
    )
}

fn case(operand: Expr, conditions: Vec<Expr>, results: Vec<Expr>, otherwise: Expr) -> Expr {
    Expr::Case {
        operand: Some(Box::new(operand)),
        conditions,
        results,
        else_result: Some(Box::new(otherwise)),
    }
}

fn boolean(value: bool) -> Expr {
    Expr::Value(Value::Boolean(value))
}

fn number(value: u8) -> Expr {
    Expr::Value(Value::Number(value.into(), false))
}

/// Makes a literal number, also a negative one, a decimal.
fn decimal(expr: &mut Expr) {
    let literal = match expr {
        Expr::Value(Value::Number(..)) => true,
        Expr::UnaryOp {
            op: UnaryOperator::Minus | UnaryOperator::Plus,
            expr,
        } => {
            matches!(**expr, Expr::Value(Value::Number(..)))
        }
        Expr::Nested(inner) => return decimal(inner),
        _ => false,
    };
    if literal {
        let literal = std::mem::replace(expr, Expr::Value(Value::Null));
        *expr = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(literal),
            data_type: DataType::Decimal(ExactNumberInfo::None),
            format: None,
        };
    }
}
