//! Measures durable appends and sequential reads: `cargo run --release -p millstream-log --example append -- 12`.
//!
//! Arguments: partitions (12), events (1,000,000), appenders (8), records per append (100), directory (a new one
//! in the temporary directory). The events are notifications of about 1.1 KB as MinIO sends them, keyed by object.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on stops, and prints")]

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use millstream_log::{Log, NewRecord, Options, Topic};

fn main() {
    let argument = |at: usize, default: u64| std::env::args().nth(at).map_or(default, |text| text.parse().unwrap());
    let partitions = argument(1, 12) as u32;
    let events = argument(2, 1_000_000);
    let appenders = argument(3, 8);
    let batch = argument(4, 100);
    let directory = std::env::args()
        .nth(5)
        .map_or_else(|| std::env::temp_dir().join(format!("millstream-log-{}", std::process::id())), PathBuf::from);
    let log = Log::open(&directory, Options::default()).unwrap();
    let topic = log.topic("objects", partitions).unwrap();
    let records: Vec<Vec<NewRecord>> =
        (0..appenders).map(|appender| (0..20_000).map(|index| event(appender, index)).collect()).collect();
    let payload_bytes = records[0].iter().map(|record| record.payload.len()).sum::<usize>() as f64 / 20_000.0;
    println!("{partitions} partitions, {appenders} appenders of {batch}, {payload_bytes:.0} bytes per event");

    append(&topic, &records, events / appenders / batch, batch as usize);
    let stored_bytes: u64 = (0..partitions).map(|partition| topic.backlog_bytes(partition, 0)).sum();
    println!("stored / payload {:.3}", stored_bytes as f64 / (payload_bytes * events as f64));
    read(&topic);
    drop((topic, log));
    let start = Instant::now();
    drop(Log::open(&directory, Options::default()).unwrap());
    println!("open {:.3} s", start.elapsed().as_secs_f64());
    std::fs::remove_dir_all(directory).unwrap();
}

fn append(topic: &Topic, records: &[Vec<NewRecord>], appends: u64, batch: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let start = Instant::now();
    let cpu_start = cpu_seconds();
    let tasks: Vec<_> = records
        .iter()
        .map(|records| {
            let topic = topic.clone();
            let records = records.clone();
            runtime.handle().spawn(async move {
                let mut waits = Vec::new();
                for index in 0..appends as usize {
                    let from = index * batch % (records.len() - batch + 1);
                    let sent = Instant::now();
                    topic.append(records[from..from + batch].to_vec()).await.unwrap();
                    waits.push(sent.elapsed());
                }
                waits
            })
        })
        .collect();
    let mut waits: Vec<_> = tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect();
    let seconds = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu_start;
    waits.sort_unstable();
    let millis = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let events = (waits.len() * batch) as f64;
    let groups = *topic.subscribe().borrow();
    println!(
        "append {:.0} events/s, ack p50 {:.2} p99 {:.2} max {:.1} ms, CPU {:.2} s per million, {:.0} records per sync",
        events / seconds,
        millis(0.5),
        millis(0.99),
        millis(1.0),
        cpu / events * 1e6,
        events / groups as f64
    );
}

fn read(topic: &Topic) {
    let start = Instant::now();
    let cpu_start = cpu_seconds();
    let mut count = 0;
    let mut bytes = 0;
    for partition in 0..topic.partitions() {
        let mut next = 0;
        while next < topic.range(partition).end {
            let read = topic.read(partition, next, 1 << 20).unwrap();
            count += read.records.len();
            bytes += read.records.iter().map(|record| record.payload.len()).sum::<usize>();
            next = read.next;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu_start;
    println!(
        "read {:.0} events/s, {:.0} MB/s, CPU {:.2} s per million",
        count as f64 / seconds,
        bytes as f64 / seconds / 1e6,
        cpu / count as f64 * 1e6
    );
}

/// Processor time of this process, user and system, from `/proc` in the usual ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    fields.map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

fn event(appender: u64, index: u64) -> NewRecord {
    // Spread like names and checksums are, so that compression is not flattered.
    let noise = |salt: u64| {
        let mut value = (appender << 32 | index).wrapping_add(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        value ^= value >> 31;
        value = value.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value ^ value >> 29
    };
    let key = format!("customer-{:03}/2026/11/23/{:016x}.jpg", noise(1) % 200, noise(2));
    let size = noise(3) % 5_000_000;
    let second = index % 60;
    let milli = noise(4) % 1000;
    let etag = format!("{:016x}{:016x}", noise(5), noise(6));
    let request = noise(7);
    let sequencer = noise(8) >> 12;
    let payload = format!(
        r#"{{"EventName":"s3:ObjectCreated:Put","Key":"uploads/{key}","Records":[{{"eventVersion":"2.0","eventSource":"minio:s3","awsRegion":"","eventTime":"2026-11-23T10:15:{second:02}.{milli:03}Z","eventName":"s3:ObjectCreated:Put","userIdentity":{{"principalId":"minioadmin"}},"requestParameters":{{"principalId":"minioadmin","region":"","sourceIPAddress":"10.0.3.{ip}"}},"responseElements":{{"content-length":"0","x-amz-id-2":"dd9025bab4ad464b049177c95eb6ebf374d3b3fd1af9251148b658df7ac2e3e8","x-amz-request-id":"{request:016X}","x-minio-deployment-id":"7a3f6b06-1b87-4d07-9a4c-5a7f3f1f4f7e","x-minio-origin-endpoint":"http://10.0.3.7:9000"}},"s3":{{"s3SchemaVersion":"1.0","configurationId":"Config","bucket":{{"name":"uploads","ownerIdentity":{{"principalId":"minioadmin"}},"arn":"arn:aws:s3:::uploads"}},"object":{{"key":"{key}","size":{size},"eTag":"{etag}","contentType":"image/jpeg","userMetadata":{{"content-type":"image/jpeg"}},"sequencer":"{sequencer:016X}"}}}},"source":{{"host":"10.0.3.{ip}","port":"","userAgent":"MinIO (linux; amd64) minio-go/v7.0.80"}}}}]}}"#,
        ip = noise(9) % 250,
    );
    NewRecord { key: Bytes::from(key), payload: Bytes::from(payload), ..NewRecord::default() }
}
