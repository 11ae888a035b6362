//! Which steps come before which.

use std::collections::BTreeMap;

use super::expressions;
use crate::problem::{Place, Problems};
use crate::read::{BlockDraft, no_step};

/// For each step the places of those that it needs; of circles a part is left out.
pub(super) fn needs(block: &BlockDraft, problems: &mut Problems) -> Vec<Vec<usize>> {
    let places: BTreeMap<&str, usize> = block
        .steps
        .iter()
        .enumerate()
        .rev()
        .map(|(at, draft)| (draft.step.id.as_str(), at))
        .collect();
    let mut all: Vec<Vec<(usize, Place)>> = Vec::new();
    for (index, draft) in block.steps.iter().enumerate() {
        let mut found: BTreeMap<usize, Place> = BTreeMap::new();
        for (name, at) in &draft.needs {
            match places.get(name.as_str()) {
                Some(other) if *other == index => problems.add(*at, "a step can't need itself"),
                Some(other) => {
                    found.entry(*other).or_insert(*at);
                }
                None => problems.add(*at, no_step(name, &block.steps)),
            }
        }
        for expression in expressions(draft) {
            for seen in expression
                .refs()
                .into_iter()
                .filter(|seen| seen.path[0] == "steps")
            {
                let at = expression.place(seen.at);
                let Some(name) = seen.path.get(1) else {
                    problems.add(
                        at,
                        "name the step: `steps.ID`, so that it is known to come before",
                    );
                    continue;
                };
                match places.get(name.as_str()) {
                    Some(other) if *other == index => {
                        problems.add(at, "a step can't look at itself: what it gave is `result`, in `output` and `compensate`");
                    }
                    Some(other) => {
                        found.entry(*other).or_insert(at);
                    }
                    // Its type tells that it is unknown.
                    None => {}
                }
            }
        }
        all.push(found.into_iter().collect());
    }
    without_circles(block, all, problems)
}

fn without_circles(
    block: &BlockDraft,
    all: Vec<Vec<(usize, Place)>>,
    problems: &mut Problems,
) -> Vec<Vec<usize>> {
    let mut search = Search {
        block,
        all: &all,
        state: vec![State::New; all.len()],
        path: Vec::new(),
        closes: Vec::new(),
        problems,
    };
    for start in 0..all.len() {
        search.visit(start);
    }
    let closes = search.closes;
    all.into_iter()
        .enumerate()
        .map(|(from, needs)| {
            let needs = needs.into_iter().map(|(to, _)| to);
            needs.filter(|to| !closes.contains(&(from, *to))).collect()
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

struct Search<'a> {
    block: &'a BlockDraft,
    all: &'a [Vec<(usize, Place)>],
    state: Vec<State>,
    path: Vec<usize>,
    /// Which needs close a circle.
    closes: Vec<(usize, usize)>,
    problems: &'a mut Problems,
}

impl Search<'_> {
    /// As deep as there are steps, which are bounded.
    fn visit(&mut self, at: usize) {
        if self.state[at] != State::New {
            return;
        }
        self.state[at] = State::Open;
        self.path.push(at);
        for (to, place) in &self.all[at] {
            match self.state[*to] {
                State::New => self.visit(*to),
                State::Open => self.circle(at, *to, *place),
                State::Done => {}
            }
        }
        self.path.pop();
        self.state[at] = State::Done;
    }

    fn circle(&mut self, at: usize, to: usize, place: Place) {
        let from = self.path.iter().position(|step| *step == to).unwrap_or(0);
        let id = |step: &usize| format!("`{}`", self.block.steps[*step].step.id);
        let path: Vec<String> = self.path[from..].iter().chain([&to]).map(id).collect();
        let message = format!(
            "a circle: {}; none of them could begin",
            path.join(" needs ")
        );
        self.problems.add(place, message);
        self.closes.push((at, to));
    }
}

/// The steps, each after those that it needs.
pub(super) fn order(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    let mut placed = vec![false; needs.len()];
    while order.len() < needs.len() {
        let before = order.len();
        for step in 0..needs.len() {
            if !placed[step] && needs[step].iter().all(|need| placed[*need]) {
                placed[step] = true;
                order.push(step);
            }
        }
        if order.len() == before {
            break;
        }
    }
    order
}
