//! R23, R50 to R52: to which deploy a task belongs, and which pods slices let in.

use millstream_schemas::tasks::{Alias, Deploy, Extent, Pending, Selector, Slice, Task};

use crate::support::{AsFact, any, deploy, facts, pending, placed, pod, running, slice};

fn selecting(service: &str, revision: &str, generation: i64, selector: Selector) -> Deploy {
    Deploy { service: service.into(), generation, selector: Some(selector), ..deploy(revision) }
}

fn names(deploy: &Deploy) -> (&str, &str) {
    (&deploy.service, &deploy.revision)
}

#[test]
fn the_most_specific_selector_wins_then_the_largest_generation_and_revision() {
    let definition = Selector { definition: Some("digits:1".into()), ..Selector::default() };
    let both = Selector { source: Some("ecs".into()), ..definition.clone() };
    let mut facts = facts([
        running("t", "10.0.0.1", 100).fact(),
        selecting("digits", "v1", 9, definition.clone()).fact(),
        selecting("digits", "v2", 9, definition.clone()).fact(),
        selecting("words", "v1", 10, definition).fact(),
        selecting("all", "v1", 99, Selector::default()).fact(),
        selecting("elsewhere", "v1", 99, Selector { source: Some("cluster".into()), ..both.clone() }).fact(),
    ]);
    let placed_now = placed(&facts, "t");
    assert_eq!(names(placed_now.deploy.as_ref().unwrap()), ("words", "v1"));
    let lost: Vec<_> = placed_now.lost.iter().map(|deploy| names(deploy)).collect();
    assert_eq!(lost, [("digits", "v2"), ("digits", "v1"), ("all", "v1")]);
    let touched = facts.put(selecting("exact", "v1", 1, both).fact());
    assert_eq!(touched.services().map(|name| &**name).collect::<Vec<_>>(), ["exact", "words"]);
    assert_eq!(names(placed(&facts, "t").deploy.as_ref().unwrap()), ("exact", "v1"));
    assert!(facts.service("words", &any).revisions["v1"].tasks.is_empty());
    assert_eq!(facts.service("exact", &any).revisions["v1"].tasks.len(), 1);
}

#[test]
fn each_label_of_a_selector_counts() {
    let by = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Selector { labels, ..Selector::default() }
    };
    let facts = facts([
        pod("p", "10.0.0.1", &[("app", "x"), ("tier", "y"), ("zone", "z")]).fact(),
        selecting("namespace", "v1", 9, Selector { namespace: Some("ml".into()), ..Selector::default() }).fact(),
        selecting("two", "v1", 1, by(&[("app", "x"), ("tier", "y")])).fact(),
        selecting("other", "v1", 9, by(&[("app", "x"), ("tier", "n"), ("zone", "z")])).fact(),
    ]);
    let placed = placed(&facts, "p");
    assert_eq!(names(placed.deploy.as_ref().unwrap()), ("two", "v1"));
    assert_eq!(names(&placed.lost[0]), ("namespace", "v1"));
    assert_eq!(placed.lost.len(), 1);
}

#[test]
fn a_retired_deploy_takes_no_tasks_and_is_left_out() {
    let mut facts = facts([running("t", "10.0.0.1", 100).fact(), deploy("v1").fact()]);
    facts.put(Deploy { retired: true, generation: 2, ..deploy("v1") }.fact());
    assert_eq!(pending(&facts, "t"), Some(Pending::NoDeploy));
    assert!(facts.service("digits", &any).revisions.is_empty());
    facts.put(Deploy { generation: 3, ..deploy("v1") }.fact());
    assert_eq!(pending(&facts, "t"), None);
    facts.put(Deploy { selector: None, generation: 4, ..deploy("v1") }.fact());
    assert_eq!(pending(&facts, "t"), Some(Pending::NoDeploy), "a deploy without a selector matches no task");
}

#[test]
fn the_labels_of_a_pod_name_its_service_and_revision() {
    let by_name =
        [("app.kubernetes.io/name", "digits"), ("app", "no"), ("version", "no"), ("app.kubernetes.io/version", "v1")];
    let by_app = [("app", "digits"), ("version", "v2"), ("pod-template-hash", "no")];
    let mut facts = facts([
        pod("a", "10.0.0.1", &by_name).fact(),
        pod("b", "10.0.0.2", &by_app).fact(),
        pod("c", "10.0.0.3", &[("app", "digits"), ("pod-template-hash", "abc")]).fact(),
        pod("d", "10.0.0.4", &[("app", "digits")]).fact(),
        pod("e", "10.0.0.5", &[("app", "not a name"), ("version", "v1")]).fact(),
        Task { namespace: Some("a.b".into()), ..pod("f", "10.0.0.6", &by_app) }.fact(),
    ]);
    let service = facts.service("ml.digits", &any);
    assert_eq!(service.revisions.keys().map(|name| &**name).collect::<Vec<_>>(), ["abc", "v1", "v2"]);
    let revision = &service.revisions["v1"];
    assert_eq!(revision.tasks[0].address.unwrap().to_string(), "10.0.0.1:80", "the first port of the pod");
    let deploy = &revision.deploy;
    assert_eq!((deploy.generation, deploy.min_ready, deploy.drain_ms, deploy.port), (0, 1, 30_000, None));
    assert!(["d", "e", "f"].iter().all(|id| pending(&facts, id) == Some(Pending::NoDeploy)));
    assert_eq!(facts.services().iter().map(|name| &**name).collect::<Vec<_>>(), ["ml.digits"]);

    let told = Deploy { service: "ml.digits".into(), selector: None, port: Some(81), ..crate::support::deploy("v1") };
    facts.put(told.clone().fact());
    assert_eq!(placed(&facts, "a").address.unwrap().port(), 81, "a deploy without a selector says how");
    facts.put(Deploy { retired: true, ..told.clone() }.fact());
    assert_eq!(pending(&facts, "a"), Some(Pending::NoDeploy));
    let selector = Some(Selector { source: Some("other".into()), ..Selector::default() });
    facts.put(Deploy { selector, ..told.clone() }.fact());
    assert_eq!(pending(&facts, "a"), Some(Pending::NoDeploy), "the selector says that it is none of it");
    facts.remove(&told.fact().key());
    assert_eq!(pending(&facts, "a"), None);
}

#[test]
fn where_slices_are_known_a_pod_needs_a_live_one_that_names_it() {
    let labels = [("app", "digits"), ("version", "v1")];
    let mut facts = facts([pod("p", "10.0.0.1", &labels).fact()]);
    assert_eq!(pending(&facts, "p"), None, "no slice is known");
    let touched = facts.put(slice("s1", &["q"]).fact());
    assert_eq!(touched.extent("ml.digits"), Some(&Extent::Whole));
    assert_eq!(pending(&facts, "p"), Some(Pending::NoDeploy));
    facts.put(slice("s2", &["p"]).fact());
    facts.put(slice("s3", &["p"]).fact());
    assert_eq!(pending(&facts, "p"), None, "in two slices it is one task");
    assert_eq!(facts.service("ml.digits", &any).revisions["v1"].tasks.len(), 1);
    facts.put(Slice { rank: 1, ..slice("s2", &["p"]) }.fact());
    assert_eq!(pending(&facts, "p"), None);
    facts.put(Slice { rank: 1, ..slice("s3", &["p"]) }.fact());
    assert_eq!(pending(&facts, "p"), Some(Pending::NoDeploy), "gone slices name nothing");
    facts.put(Slice { unready: vec!["p".into()], ..slice("s2", &[]) }.fact());
    assert_eq!(pending(&facts, "p"), None, "whether it is ready is said by the pod");
    facts.put(Slice { source: "other".into(), ..slice("s2", &[]) }.fact());
    facts.put(Slice { service: Some("words".into()), ..slice("s9", &[]) }.fact());
    assert_eq!(pending(&facts, "p"), None, "slices of other clusters and services say nothing");
}

#[test]
fn deleted_aliases_are_left_out() {
    let alias =
        |name: &str, deleted: bool| Alias { service: "digits".into(), alias: name.into(), deleted, ..Alias::default() };
    let facts = facts([alias("prod", false).fact(), alias("old", true).fact()]);
    assert_eq!(facts.service("digits", &any).aliases.keys().map(|name| &**name).collect::<Vec<_>>(), ["prod"]);
}
