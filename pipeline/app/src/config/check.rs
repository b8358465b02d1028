//! Checks what types cannot express: ranges, and settings that conflict. Looks only at the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_schemas::tasks::Sources;

use super::{Config, Controller, Http, Kafka, Limits, Pipeline, PipelineSource, SinkKind, StreamKind};

/// Each thread, connection and open file of a topic costs something; one machine gains nothing beyond a few dozen.
const PARTITIONS_MAX: u32 = 1024;
/// PostgreSQL allows 100 connections by default.
const CONCURRENCY_MAX: usize = 64;
/// Kubernetes and systemd can be set to longer times, but nobody waits for ten minutes.
const DRAIN_NOTICE_SECONDS_MAX: u64 = 600;

/// What is wrong, each with the setting to look at.
pub(super) fn check(config: &Config) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let mut refuse = |is_wrong: bool, setting: &str, why: String| {
        if is_wrong {
            wrong.push((setting.to_owned(), format!("`{setting}` {why}")));
        }
    };
    let partitions = config.stream.partitions;
    refuse(!(1..=PARTITIONS_MAX).contains(&partitions), "stream.partitions", format!("is from 1 to {PARTITIONS_MAX}"));
    let limits = &config.limits;
    refuse(
        config.http.body_bytes_max < limits.record_bytes_max,
        "http.body_bytes_max",
        format!("is at least limits.record_bytes_max, {}", limits.record_bytes_max),
    );
    refuse(limits.record_bytes_max < 1024, "limits.record_bytes_max", "is at least 1024".to_owned());
    refuse(
        config.memory_bytes_each() / 4 < limits.record_bytes_max,
        "limits.memory_bytes",
        format!(
            "is {}; it must be at least {}, four times limits.record_bytes_max for each pipeline",
            limits.memory_bytes,
            limits.record_bytes_max.saturating_mul(4).saturating_mul(config.pipeline.len().max(1))
        ),
    );
    for (setting, seconds) in [
        ("limits.retry_seconds_max", limits.retry_seconds_max),
        ("limits.stall_seconds", limits.stall_seconds),
        ("limits.drain_seconds", limits.drain_seconds),
        ("limits.lease_lock_seconds_max", limits.lease_lock_seconds_max),
        ("limits.quarantine_window_seconds", limits.quarantine_window_seconds),
    ] {
        refuse(!(1..=86_400).contains(&seconds), setting, "is from 1 to 86400".to_owned());
    }
    refuse(
        config.postgres.statement_timeout_ms.is_some_and(|ms| u64::from(ms) >= limits.stall_seconds * 1000),
        "postgres.statement_timeout_ms",
        format!("is less than limits.stall_seconds, {}: the watchdog would not wait for it", limits.stall_seconds),
    );
    refuse(limits.segments_max < 0, "limits.segments_max", "is 0 or more".to_owned());
    check_http(&config.http, &mut wrong);
    check_quarantine(limits, &mut wrong);
    check_controller(&config.controller, &mut wrong);
    check_pipelines(&config.pipeline, &mut wrong);
    check_shared(config, &mut wrong);
    check_serving(config, &mut wrong);
    for (index, bridge) in config.bridge.iter().enumerate() {
        if !config.pipeline.iter().any(|pipeline| pipeline.reads_stream() && pipeline.topic() == bridge.topic) {
            let setting = format!("bridge.{index}.topic");
            wrong.push((setting.clone(), format!("`{setting}` is a topic that a pipeline reads")));
        }
    }
    if config.stream.kind == StreamKind::Kafka {
        check_kafka(&config.stream.kafka, &mut wrong);
    }
    if let Err(error) = config.postgres.check() {
        let message = error.to_string();
        let setting = message.split([' ', ':', ',']).find(|word| word.starts_with("postgres."));
        wrong.push((setting.unwrap_or("postgres").to_owned(), message));
    }
    wrong
}

fn check_http(http: &Http, wrong: &mut Vec<(String, String)>) {
    let mut refuse = |is_wrong: bool, setting: &str, why: String| {
        if is_wrong {
            wrong.push((setting.to_owned(), format!("`{setting}` {why}")));
        }
    };
    refuse(
        !http.listen.ip().is_loopback() && http.tokens_file.is_none(),
        "http.listen",
        format!("is {}, which others can reach: name a file of tokens with http.tokens_file", http.listen),
    );
    refuse(http.appends_max == 0, "http.appends_max", "is at least 1".to_owned());
    refuse(http.connections_max == 0, "http.connections_max", "is at least 1".to_owned());
    refuse(
        http.drain_notice_seconds.is_some_and(|seconds| seconds > DRAIN_NOTICE_SECONDS_MAX),
        "http.drain_notice_seconds",
        format!("is at most {DRAIN_NOTICE_SECONDS_MAX}: supervisors end a process that takes longer to leave"),
    );
    refuse(
        !(1..=http.connections_max).contains(&http.connections_per_peer_max),
        "http.connections_per_peer_max",
        format!("is from 1 to http.connections_max, {}", http.connections_max),
    );
    for (setting, seconds) in [
        ("http.head_seconds_max", http.head_seconds_max),
        ("http.idle_seconds_max", http.idle_seconds_max),
        ("http.body_pause_seconds_max", http.body_pause_seconds_max),
        ("http.body_seconds_max", http.body_seconds_max),
        ("http.answer_seconds_max", http.answer_seconds_max),
    ] {
        refuse(!(1..=86_400).contains(&seconds), setting, "is from 1 to 86400".to_owned());
    }
}

fn check_quarantine(limits: &Limits, wrong: &mut Vec<(String, String)>) {
    let mut refuse = |is_wrong: bool, setting: &str, why: String| {
        if is_wrong {
            wrong.push((setting.to_owned(), format!("`{setting}` {why}")));
        }
    };
    let share = limits.quarantine_share_max;
    refuse(!(0.0..=1.0).contains(&share), "limits.quarantine_share_max", "is from 0 to 1".to_owned());
    for (setting, number) in [
        ("limits.quarantine_window_records", limits.quarantine_window_records),
        ("limits.quarantine_rows_max", limits.quarantine_rows_max),
        ("limits.quarantine_bytes_max", limits.quarantine_bytes_max),
    ] {
        refuse(number == 0, setting, "is at least 1".to_owned());
    }
    refuse(!(1..=36_500).contains(&limits.quarantine_days), "limits.quarantine_days", "is from 1 to 36500".to_owned());
}

fn check_kafka(kafka: &Kafka, wrong: &mut Vec<(String, String)>) {
    let mut refuse = |setting: &str, why: &str| {
        let setting = format!("stream.kafka.{setting}");
        wrong.push((setting.clone(), format!("`{setting}` {why}")));
    };
    if kafka.brokers.trim().is_empty() {
        refuse("brokers", "names at least one broker, as in \"127.0.0.1:9092\"");
    }
    if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&kafka.session) {
        refuse("session", "is from 1s to 5m; brokers take 6s and more unless told otherwise");
    }
    if kafka.instance.as_deref().is_some_and(|name| !is_topic(name)) {
        refuse("instance", "has letters, digits, `.`, `_` and `-`, at most 200");
    }
    if let Err(why) = crate::stream::check_kafka(kafka) {
        refuse("settings", &format!("are refused: {why}"));
    }
}

fn check_pipelines(pipelines: &[Pipeline], wrong: &mut Vec<(String, String)>) {
    if pipelines.is_empty() {
        wrong.push(("pipeline".to_owned(), "there is no pipeline: nothing would be read".to_owned()));
    }
    let mut names = BTreeSet::new();
    for pipeline in pipelines {
        let mut refuse = |is_wrong: bool, setting: &str, why: &str| {
            if is_wrong {
                let setting = format!("pipeline.{}.{setting}", pipeline.name);
                wrong.push((setting.clone(), format!("`{setting}` {why}")));
            }
        };
        refuse(!names.insert(&pipeline.name), "name", "is the name of two pipelines: their positions would be one");
        refuse(!is_name(&pipeline.name), "name", "has letters, digits, `_` and `-`, at most 63");
        refuse(
            pipeline.reads_stream() && !is_topic(pipeline.topic()),
            "source.topic",
            "has letters, digits, `.`, `_` and `-`, at most 200",
        );
        refuse(!is_store(&pipeline.store), "store", "has lower-case letters, digits, `.`, `_` and `-`, at most 63");
        refuse(!(1..=100_000).contains(&pipeline.batch_records_max), "batch_records_max", "is from 1 to 100000");
        let bytes = (64 << 10)..=(1 << 30);
        refuse(!bytes.contains(&pipeline.batch_bytes_max), "batch_bytes_max", "is from 65536 to 1073741824");
        let concurrency = pipeline.concurrency;
        refuse(!(1..=CONCURRENCY_MAX).contains(&concurrency.max), "concurrency.max", "is from 1 to 64");
        refuse(
            !(1..=concurrency.max.max(1)).contains(&concurrency.min),
            "concurrency.min",
            "is from 1 to concurrency.max",
        );
        refuse(pipeline.rows_per_second_max > u64::from(u32::MAX), "rows_per_second_max", "is from 0 to 4294967295");
        refuse(pipeline.freshness.is_zero(), "freshness", "is more than nothing");
    }
}

/// Finds what two parts of a configuration would read, so that each got only a part of it.
fn check_shared(config: &Config, wrong: &mut Vec<(String, String)>) {
    // Elsewhere a pipeline reads all of a topic, whatever its group.
    let has_groups = config.stream.kind == StreamKind::Kafka;
    let mut groups = BTreeMap::new();
    for pipeline in config.pipeline.iter().filter(|pipeline| has_groups && pipeline.reads_stream()) {
        if let Some(other) = groups.insert((pipeline.topic(), pipeline.group()), &pipeline.name) {
            let setting = format!("pipeline.{}.source.group", pipeline.name);
            let why =
                format!("`{setting}` is that of pipeline {other}, too, on the same topic: each would read a part");
            wrong.push((setting, why));
        }
    }
    let straight = config.pipeline.iter().filter_map(|pipeline| match &pipeline.source {
        PipelineSource::Sqs(queue) => Some((queue, format!("pipeline.{}.source.queue", pipeline.name))),
        PipelineSource::Stream { .. } => None,
    });
    let bridges = config.bridge.iter().enumerate();
    let bridged = bridges.map(|(index, bridge)| (&bridge.from, format!("bridge.{index}.from.queue")));
    let mut queues = BTreeMap::new();
    for (queue, setting) in straight.chain(bridged) {
        let place = (&queue.queue, &queue.region, &queue.endpoint);
        if let Some(other) = queues.insert(place, setting.clone()) {
            let why = format!("`{setting}` is {}, as `{other}` is: each would get a part of its messages", queue.queue);
            wrong.push((setting, why));
        }
    }
}

/// Checks what belongs to tasks: their sources, pipelines and gateway.
fn check_serving(config: &Config, wrong: &mut Vec<(String, String)>) {
    let mut refuse = |is_wrong: bool, setting: String, why: &str| {
        if is_wrong {
            wrong.push((setting.clone(), format!("`{setting}` {why}")));
        }
    };
    if let Err(error) = Sources::new(config.task_source.iter().cloned()) {
        refuse(true, "task_source".to_owned(), &format!("is refused: {error}"));
    }
    let sources = config.task_source.iter().enumerate();
    for (index, _) in sources.filter(|(_, source)| !is_store(&source.name)) {
        let setting = format!("task_source.{index}.name");
        refuse(
            true,
            setting,
            "has lower-case letters, digits, `.`, `_` and `-`, at most 63: posts name it as their store",
        );
    }
    for pipeline in config.pipeline.iter().filter(|pipeline| pipeline.sink == SinkKind::Routing) {
        let setting = |name: &str| format!("pipeline.{}.{name}", pipeline.name);
        refuse(pipeline.concurrency.max != 1, setting("concurrency.max"), "is 1: changes of routes are in one order");
        refuse(
            config.task_source.is_empty(),
            setting("sink"),
            "needs a task_source: events of unknown sources are refused",
        );
    }
    let listen = config.gateway.listen;
    refuse(
        listen.is_some_and(|listen| !listen.ip().is_loopback()) && !config.gateway.open,
        "gateway.listen".to_owned(),
        "can be reached from other machines, and requests are not authenticated: allow that with gateway.open = true",
    );
    refuse(
        !config.gateway.admin.ip().is_loopback() && !config.gateway.open,
        "gateway.admin".to_owned(),
        "can be reached from other machines, and requests are not authenticated: allow that with gateway.open = true",
    );
    let hours = config.limits.route_log_hours;
    refuse(!(1..=87_600).contains(&hours), "limits.route_log_hours".to_owned(), "is from 1 to 87600");
    refuse(config.gateway.connections_max == 0, "gateway.connections_max".to_owned(), "is at least 1");
}

fn check_controller(controller: &Controller, wrong: &mut Vec<(String, String)>) {
    let mut refuse = |is_wrong: bool, setting: &str, why: &str| {
        if is_wrong {
            let setting = format!("controller.{setting}");
            wrong.push((setting.clone(), format!("`{setting}` {why}")));
        }
    };
    let transaction_max = Duration::from_millis(10)..=Duration::from_secs(600);
    refuse(!transaction_max.contains(&controller.transaction_max), "transaction_max", "is from 10ms to 10m");
    refuse(controller.concurrency_max == Some(0), "concurrency_max", "is at least 1");
    refuse(controller.processors == Some(0), "processors", "is at least 1");
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

fn is_topic(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=200).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

fn is_store(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && name.len() <= 63 && name.bytes().all(plain)
}
