//! How much memory the facts of a large installation take.

use millstream_schemas::tasks::{Alias, Deploy, Facts, Selector, Target, Task};

use crate::support::{AsFact, any, deploy, running};

/// The resident memory of this process, in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

#[test]
#[ignore = "takes a minute; run it with --release -- --ignored --nocapture"]
fn a_million_tasks_and_aliases_of_100_000_deploys_take_less_than_a_gigabyte() {
    let before = resident_mib();
    let began = std::time::SystemTime::now();
    let mut facts = Facts::default();
    for at in 0..100_000_u32 {
        let definition = Some(format!("svc-{}:{}", at / 10, at % 10));
        let selector = Some(Selector { definition, ..Selector::default() });
        let service = format!("svc-{}", at / 10);
        facts.put(Deploy { service, selector, ..deploy(&format!("v{}", at % 10)) }.fact());
    }
    println!("deploys: {} MiB", resident_mib() - before);
    for at in 0..1_000_000_u32 {
        let [_, b, c, d] = at.to_be_bytes();
        let task = Task {
            cluster: Some("arn:aws:ecs:eu-central-1:123456789012:cluster/models".into()),
            definition: Some(format!("svc-{}:{}", at % 100_000 / 10, at % 10)),
            group: Some(format!("service:svc-{}", at % 100_000 / 10)),
            desired_status: Some("RUNNING".into()),
            ..running(
                &format!("{:032x}", u128::from(at) << 64 | 0x1234_5678),
                &format!("10.{b}.{c}.{d}"),
                i64::from(at),
            )
        };
        facts.put(task.fact());
    }
    println!("and tasks: {} MiB", resident_mib() - before);
    for at in 0..1_000_000_u32 {
        let targets = vec![Target { revision: format!("v{}", at % 10), weight: 100 }];
        let service = format!("svc-{}", at / 100);
        let alias = format!("alias-{}", at % 100);
        facts.put(Alias { service, alias, generation: 1, targets, ..Alias::default() }.fact());
    }
    let used = resident_mib() - before;
    println!("and aliases: {used} MiB, after {:?}", began.elapsed().unwrap());
    assert_eq!(facts.len(), 2_100_000);
    assert_eq!(facts.service("svc-7", &any).revisions["v3"].tasks.len(), 10);
    assert!(used < 1_000, "{used} MiB");
}
