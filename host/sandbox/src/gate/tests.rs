use super::*;
use crate::capability::kv::{self, Action, Kv};
use crate::capability::log::{self, Log};
use crate::testing::{Door, grants};

fn op(words: &str) -> kv::Op {
    let words: Vec<&str> = words.split(' ').collect();
    Kv::parse_op(&words).expect("an operation")
}

const READ: &str = r#"kv = [{ bucket = "b", access = "read" }]"#;
const WRITE: &str = r#"kv = [{ bucket = "b" }]"#;
const BOTH: &str = r#"kv = [{ bucket = "a" }, { bucket = "b" }]"#;

#[test]
fn permits_and_denials_follow_the_grants_and_the_class() {
    use EffectClass::{Destructive, Idempotent, Plain, ReadOnly};
    for (text, class, words, allowed) in [
        ("", Plain, "get b k", false),
        (READ, Plain, "get b k", true),
        (READ, Plain, "set b k", false),
        (WRITE, Plain, "set b k", true),
        (WRITE, Idempotent, "set b k", true),
        (WRITE, Destructive, "set b k", true),
        (WRITE, ReadOnly, "get b k", true),
        (WRITE, ReadOnly, "set b k", false),
        (WRITE, Plain, "get a k", false),
        (BOTH, Plain, "get a k", true),
    ] {
        let gate = Door {
            class,
            ..Door::new(text)
        }
        .gate();
        let permit = gate.permit::<Kv>(op(words));
        assert_eq!(
            permit.is_ok(),
            allowed,
            "{text} {class:?} {words}: {permit:?}"
        );
        let denials = gate.denials();
        assert_eq!(denials.is_empty(), allowed, "{denials:?}");
        assert_eq!(gate.last_denial(), permit.err());
    }
}

#[test]
fn a_permit_holds_until_its_rule_goes() {
    for (then, now, words, holds) in [
        (WRITE, WRITE, "set b k", true),
        (WRITE, BOTH, "set b k", true),
        (WRITE, "", "set b k", false),
        (WRITE, "", "get b k", false),
        (WRITE, READ, "set b k", false),
        (WRITE, READ, "get b k", false),
        (BOTH, WRITE, "set a k", false),
        (
            WRITE,
            r#"kv = [{ bucket = "b", bytes = "1B" }]"#,
            "set b k",
            false,
        ),
    ] {
        let door = Door::new(then);
        let gate = door.gate();
        let permit = gate.permit::<Kv>(op(words)).expect(words);
        assert_eq!(permit.recheck(), Ok(()));
        door.cell.replace(2, grants(now));
        let rechecked = permit.recheck();
        assert_eq!(
            rechecked.is_ok(),
            holds,
            "{then} -> {now} {words}: {rechecked:?}"
        );
        assert_eq!(permit.recheck().is_ok(), holds, "asked again");
        assert_eq!(gate.denials().is_empty(), holds);
    }
}

#[test]
fn a_rule_that_comes_back_holds_again() {
    let door = Door::new(WRITE);
    let permit = door.gate().permit::<Kv>(op("get b k")).expect("granted");
    door.cell.replace(2, Grants::default());
    permit.recheck().expect_err("revoked");
    door.cell.replace(3, grants(WRITE));
    permit.recheck().expect("granted again");
}

#[test]
fn a_call_gains_nothing_from_grants_that_come_while_it_runs() {
    // The rooms were prepared for the rules at its start: an index of a rule must
    // never mean another list.
    let door = Door::new(WRITE);
    let gate = door.gate();
    door.cell.replace(2, grants(BOTH));
    gate.permit::<Kv>(op("get a k"))
        .expect_err("granted after the start");
    let permit = gate.permit::<Kv>(op("set b k")).expect("still granted");
    assert_eq!(permit.rule_index(), Some(0));
    assert_eq!(permit.rule(), Some(grants(WRITE).kv[0].clone()));
    let next = door.gate().permit::<Kv>(op("get a k"));
    assert!(next.is_ok(), "{next:?}");
    assert_eq!(
        gate.usage().iter().map(|usage| usage.allowed).sum::<u64>(),
        1
    );
}

#[test]
fn a_changed_rule_says_that_it_was_changed() {
    let door = Door::new(WRITE);
    let permit = door.gate().permit::<Kv>(op("get b k")).expect("granted");
    door.cell.replace(2, grants(READ));
    let denial = permit.recheck().expect_err("another rule now");
    assert_eq!(
        denial.rule,
        "the rule that allowed it was changed during the call"
    );
}

#[test]
fn denials_are_bounded_and_each_is_kept_once() {
    let gate = Door::new("").gate();
    for n in 0..DENIALS_MAX + 50 {
        for _ in 0..2 {
            gate.permit::<Kv>(op(&format!("get b {n}")))
                .expect_err("denied");
        }
    }
    assert_eq!(gate.denials().len(), DENIALS_MAX);
    let last = gate.last_denial().expect("a denial");
    assert_eq!(last.operation, format!("get b {}", DENIALS_MAX + 49));
    let denied: u64 = gate.usage().iter().map(|usage| usage.denied).sum();
    assert_eq!(denied, 2 * (DENIALS_MAX as u64 + 50));
}

#[test]
fn a_denial_shows_a_bounded_part_of_what_was_tried() {
    let gate = Door::new("").gate();
    for (bucket, key) in [(1, 100_000), (100_000, 1)] {
        let (bucket, key) = ("é".repeat(bucket), Some("é".repeat(key)));
        let op = kv::Op {
            action: Action::Get,
            bucket,
            key,
        };
        let denial = gate.permit::<Kv>(op).expect_err("denied");
        assert!(denial.operation.len() < OPERATION_BYTES_MAX + 40);
        let end = "… (200007 bytes)";
        assert!(denial.operation.ends_with(end), "{}", denial.operation);
        assert!(
            denial.rule.len() < RULE_BYTES_MAX + 40,
            "{}",
            denial.rule.len()
        );
    }
}

#[test]
fn use_is_counted_by_capability_and_rule() {
    let gate = Door::new(BOTH).gate();
    gate.permit::<Kv>(op("get a k"))
        .expect("granted")
        .count_in(3);
    let b = gate.permit::<Kv>(op("set b k")).expect("granted");
    b.count_out(5);
    b.count_out(6);
    gate.permit::<Kv>(op("get c k")).expect_err("denied");
    gate.permit::<Log>(log::Op::Write)
        .expect("ambient")
        .count_out(1);
    let shown: Vec<String> = gate
        .usage()
        .iter()
        .map(|u| {
            let (rule, allowed, denied) = (u.rule, u.allowed, u.denied);
            format!(
                "{} {rule:?} {allowed}+{denied} {}<{}",
                u.capability, u.bytes_in, u.bytes_out
            )
        })
        .collect();
    expect_test::expect![[r#"
        [
            "kv None 0+1 0<0",
            "kv Some(0) 1+0 3<0",
            "kv Some(1) 1+0 0<11",
            "log None 1+0 0<1",
        ]
    "#]]
    .assert_debug_eq(&shown);
}

#[test]
fn a_budget_is_a_total_that_is_given_back() {
    let budget = Budget::new(100);
    let held = budget.reserve(60).expect("fits");
    let rest = budget.clone().reserve(40).expect("fits exactly");
    let error = budget.reserve(1).expect_err("full");
    assert_eq!(error.to_string(), "limit host_memory reached (100B)");
    budget.reserve(u64::MAX).expect_err("no overflow");
    drop(held);
    assert_eq!(budget.held(), 40);
    drop(rest);
    assert_eq!(budget.held(), 0);
}

#[test]
fn a_budget_holds_under_concurrency() {
    let budget = Budget::new(1_000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    if let Ok(_held) = budget.reserve(300) {
                        assert!(budget.held() <= 1_000);
                    }
                }
            });
        }
    });
    assert_eq!(budget.held(), 0);
}

#[test]
fn permits_and_gates_show_no_rule_contents_in_debug() {
    let gate = Door::new(WRITE).gate();
    let permit = gate.permit::<Kv>(op("get b k")).expect("granted");
    assert_eq!(format!("{permit:?}"), "Permit(kv get b k)");
    assert_eq!(permit.rule_index(), Some(0));
    assert_eq!(permit.rule().map(|rule| rule.bucket).as_deref(), Some("b"));
}

/// A run's permit is for the operation that was asked about, with the first rule that
/// allows it; where none does, the denial says so, no longer than a call's.
#[test]
fn a_run_gets_a_permit_by_a_rule_alone() {
    let both = grants(BOTH);
    for (grants, words, told) in [
        (&both, "get a k", Ok("a")),
        (&both, "set b k", Ok("b")),
        (&both, "get c k", Err("no kv rule has bucket = \"c\"")),
        (&grants(READ), "get b k", Ok("b")),
        (&grants(READ), "set b k", Err("access = \"read\"")),
        (&Grants::default(), "get b k", Err("no kv rule has")),
    ] {
        let asked = op(words);
        match (grants.permit_run::<Kv>(asked.clone()), told) {
            (Ok(permit), Ok(bucket)) => {
                assert_eq!(permit.op(), &asked);
                assert_eq!(permit.rule().bucket, bucket);
                assert_eq!(format!("{permit:?}"), format!("RunPermit(kv {words})"));
            }
            (Err(denial), Err(part)) => {
                assert_eq!((&*denial.capability, &*denial.operation), ("kv", words));
                assert!(denial.rule.contains(part), "{words}: {denial:?}");
            }
            (got, _) => panic!("{words}: {got:?}"),
        }
    }
    // What a call may do within its limits alone, a run may not without a rule.
    let denial = both.permit_run::<Log>(log::Op::Write);
    let denial = denial.expect_err("no rule");
    assert_eq!(denial.rule, "no run uses log without a rule");
    let long = kv::Op {
        action: Action::Get,
        bucket: "é".repeat(100_000),
        key: None,
    };
    let denial = both.permit_run::<Kv>(long.clone()).expect_err("denied");
    let of_call = Door::new(BOTH).gate().permit::<Kv>(long);
    assert_eq!(denial, of_call.expect_err("denied"));
    assert!(denial.operation.len() < OPERATION_BYTES_MAX + 40);
    assert!(denial.rule.len() < RULE_BYTES_MAX + 40);
}
