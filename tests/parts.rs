//! The real services that other tests stand on: they come up, answer, are killed and come back, and leave nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use millstream_tests::parts::{
    Account, ElasticMq, Kafka, Kafka3, Kinesalite, KinesisLocal, Ministack, PASSWORD, Process, Record, StandIn, Topics,
    USER, unique,
};
use millstream_tests::until;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::ShardIteratorType;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use rustix::process::Pid;

const WITHIN: Duration = Duration::from_secs(60);

/// Records of a partition from the first on, as text, committed for a group.
fn read(topics: &Topics, group: &str, topic: &str, partition: i32, count: usize) -> Vec<String> {
    let consumer: BaseConsumer = topics.client().set("group.id", group).create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let began = std::time::Instant::now();
    let mut values = Vec::new();
    while values.len() < count {
        assert!(began.elapsed() < WITHIN, "{} of {count} records of {topic}", values.len());
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let message = message.unwrap();
        values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
        consumer.store_offset_from_message(&message).unwrap();
    }
    consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    values
}

/// Values that tell which is missing.
fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("value {number}")).collect()
}

/// That a service has ended with its handle, and its data with it.
fn gone(process: &Process, directory: &std::path::Path, pid: Pid) {
    assert_eq!(process.pid(), None);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is still there");
    assert!(!directory.exists(), "{} is still there", directory.display());
}

#[tokio::test]
async fn a_broker_that_is_killed_comes_back_with_its_records_and_leaves_nothing_at_the_end() {
    let Some(kafka) = Kafka::alone().await else { return };
    let topic = unique("kept");
    kafka.topics.create(&topic, 1, &[]).await;
    let values = numbered(100);
    let records: Vec<Record<'_>> = values.iter().map(|value| Record::new("key", value).to(0)).collect();
    let sent = kafka.topics.send_with(&topic, &records, &[("compression.type", "zstd")]).await;
    assert_eq!(sent, (0..100).map(|offset| (0, offset)).collect::<Vec<_>>());

    let process = kafka.part.process();
    let first = process.pid().unwrap();
    process.kill();
    assert_eq!(process.pid(), None);
    kafka.part.restart().await;
    let second = process.pid().unwrap();
    assert_ne!(first, second);
    assert_eq!(kafka.topics.watermarks(&topic, 0).await, (0, 100));
    assert_eq!(read(&kafka.topics, "after", &topic, 0, 100), values);

    let directory = kafka.part.directory().to_owned();
    drop(kafka);
    gone(&process, &directory, second);
}

#[tokio::test]
async fn a_broker_that_stands_still_keeps_who_asks_waiting() {
    let Some(kafka) = Kafka::alone().await else { return };
    let topic = unique("still");
    kafka.topics.create(&topic, 1, &[]).await;
    kafka.part.process().freeze();
    let record = [Record::new("key", "value")];
    let sending = kafka.topics.send(&topic, &record);
    tokio::pin!(sending);
    assert!(tokio::time::timeout(Duration::from_secs(2), &mut sending).await.is_err(), "nobody could answer");
    kafka.part.process().thaw();
    assert_eq!(sending.await, [(0, 0)]);
}

#[tokio::test]
async fn topics_grow_lose_records_and_go() {
    let Some(kafka) = Kafka::shared().await else { return };
    let (topics, topic) = (&kafka.topics, unique("topics"));
    topics.create(&topic, 2, &[("retention.ms", "60000")]).await;
    topics.grow(&topic, 3).await;
    until("three partitions", WITHIN, || async { (topics.partitions(&topic).await == 3).then_some(()) }).await;

    let header = [("trace", Some(&b"t1"[..])), ("empty", None)];
    let tombstone = Record { key: Some(b"k"), headers: &header, timestamp: Some(1_000), ..Record::default() };
    topics.send(&topic, &[Record::new("k", "a").to(2), Record::new("k", "b").to(2), tombstone.to(1)]).await;
    topics.delete_records(&topic, 2, 1).await;
    assert_eq!(topics.watermarks(&topic, 2).await, (1, 2));
    assert_eq!(topics.watermarks(&topic, 1).await, (0, 1));

    let group = unique("group");
    assert_eq!(read(topics, &group, &topic, 2, 1), ["b"]);
    assert_eq!(topics.committed(&group, &topic, 3).await, [None, None, Some(2)]);
    // The broker's own tool sees the same: group, topic, partition, position, end and lag.
    let described = kafka.describe_group(&group).await;
    let line = described.lines().find(|line| line.contains(&topic)).unwrap_or_else(|| panic!("{described}"));
    assert_eq!(line.split_whitespace().take(6).collect::<Vec<_>>(), [&*group, &*topic, "2", "2", "2", "0"]);

    topics.delete(&topic).await;
    until("no topic", WITHIN, || async { (topics.partitions(&topic).await == 0).then_some(()) }).await;
}

/// What a client needs for one of the listeners.
fn login(kafka: &Kafka, listener: &str, mechanism: &str, password: &str, ca: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.listener(listener).unwrap());
    config.set("security.protocol", listener).set("log_level", "0");
    config.set("ssl.ca.location", kafka.tls(ca).to_str().unwrap());
    if listener != "SSL" {
        config.set("sasl.mechanism", mechanism).set("sasl.username", USER).set("sasl.password", password);
    }
    config
}

/// Whether the broker answers such a client.
fn answers(config: &ClientConfig) -> bool {
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.fetch_metadata(None, Duration::from_secs(10)).is_ok()
}

/// Whether the broker lets nobody in who asks like this; a refusal repeats until the time is over.
fn refuses(config: &ClientConfig) -> bool {
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.fetch_metadata(None, Duration::from_secs(2)).is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_takes_tls_and_passwords_and_refuses_wrong_ones() {
    let Some(kafka) = Kafka::shared().await else { return };
    if kafka.listener("SSL").is_none() {
        return;
    }
    assert!(answers(&login(kafka, "SSL", "", "", "ca.pem")));
    assert!(refuses(&login(kafka, "SSL", "", "", "stranger.pem")));
    for listener in ["SASL_SSL", "SASL_PLAINTEXT"] {
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
            assert!(answers(&login(kafka, listener, mechanism, PASSWORD, "ca.pem")), "{listener} {mechanism}");
        }
        assert!(refuses(&login(kafka, listener, "SCRAM-SHA-256", "wrong", "ca.pem")), "{listener}");
    }
    let mut certified = login(kafka, "SSL", "", "", "ca.pem");
    certified.set("ssl.certificate.location", kafka.tls("client.pem").to_str().unwrap());
    certified.set("ssl.key.location", kafka.tls("client.key").to_str().unwrap());
    assert!(answers(&certified));
}

#[tokio::test]
async fn two_of_three_brokers_go_on_and_the_third_comes_back() {
    let Some(kafka) = Kafka3::alone().await else { return };
    let topic = unique("replicated");
    kafka.topics.create(&topic, 3, &[]).await;
    let values = numbered(30);
    let to_all: Vec<Record<'_>> =
        values.iter().zip((0..3).cycle()).map(|(value, partition)| Record::new("k", value).to(partition)).collect();
    kafka.topics.send(&topic, &to_all).await;
    let nodes = [1, 2, 3].map(|number| kafka.node(number));
    nodes[1].kill();
    kafka.topics.send(&topic, &to_all).await;
    kafka.restart(2).await;
    let pids: BTreeSet<i32> = nodes.iter().map(|node| node.pid().unwrap().as_raw_nonzero().get()).collect();
    assert_eq!(pids.len(), 3);
    // With another one away, the one that came back has to hold its part.
    nodes[2].kill();
    kafka.topics.send(&topic, &to_all).await;
    for partition in 0..3 {
        assert_eq!(kafka.topics.watermarks(&topic, partition).await, (0, 30));
    }
    let directory = kafka.part.directory().to_owned();
    let pid = nodes[0].pid().unwrap();
    drop(kafka);
    gone(&nodes[0], &directory, pid);
}

/// Sends a message and takes it, by long polling.
async fn through_a_queue(account: &Account) {
    let sqs = aws_sdk_sqs::Client::new(&account.config().await);
    let queue = account.queue("parts").await;
    sqs.send_message().queue_url(&queue).message_body("hello").send().await.unwrap();
    let took = sqs.receive_message().queue_url(&queue).wait_time_seconds(10).send().await.unwrap();
    assert_eq!(took.messages()[0].body(), Some("hello"));
    let receipt = took.messages()[0].receipt_handle().unwrap();
    sqs.delete_message().queue_url(&queue).receipt_handle(receipt).send().await.unwrap();
}

/// Puts records into a stream and reads them from its beginning.
async fn through_a_stream(stand_in: &StandIn, records: usize) {
    let account = stand_in.account();
    let kinesis = aws_sdk_kinesis::Client::new(&account.config().await);
    let stream = account.stream("parts", 1).await;
    for number in 0..records {
        let put = kinesis.put_record().stream_name(&stream).partition_key("key");
        put.data(Blob::new(number.to_string())).send().await.unwrap();
    }
    let shards = kinesis.list_shards().stream_name(&stream).send().await.unwrap();
    let from = kinesis.get_shard_iterator().stream_name(&stream).shard_id(shards.shards()[0].shard_id());
    let from = from.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
    let got = kinesis.get_records().shard_iterator(from.shard_iterator().unwrap()).send().await.unwrap();
    let values: Vec<&[u8]> = got.records().iter().map(|record| record.data().as_ref()).collect();
    let wanted: Vec<String> = (0..records).map(|number| number.to_string()).collect();
    assert_eq!(values, wanted.iter().map(String::as_bytes).collect::<Vec<_>>());
    let number = got.records()[0].sequence_number();
    assert!(number.len() == 56 && number.bytes().all(|byte| byte.is_ascii_digit()), "{number}");
}

#[tokio::test]
async fn ministack_turns_objects_into_messages_and_keeps_accounts_apart() {
    let Some(ministack) = Ministack::shared().await else { return };
    let account = ministack.account();
    through_a_queue(&account).await;

    let config = account.config().await;
    let s3 = aws_sdk_s3::Client::new(&config);
    let sqs = aws_sdk_sqs::Client::new(&config);
    let bucket = unique("bucket");
    let queue = account.queue("objects").await;
    s3.create_bucket().bucket(&bucket).send().await.unwrap();
    let arn = format!("arn:aws:sqs:us-east-1:{}:{}", account.key, queue.rsplit('/').next().unwrap());
    let to = aws_sdk_s3::types::QueueConfiguration::builder()
        .queue_arn(arn)
        .events(aws_sdk_s3::types::Event::S3ObjectCreated)
        .build()
        .unwrap();
    let to = aws_sdk_s3::types::NotificationConfiguration::builder().queue_configurations(to).build();
    s3.put_bucket_notification_configuration().bucket(&bucket).notification_configuration(to).send().await.unwrap();
    s3.put_object().bucket(&bucket).key("a key").body(b"five!".to_vec().into()).send().await.unwrap();
    until("the event of the object", WITHIN, || async {
        let took = sqs.receive_message().queue_url(&queue).wait_time_seconds(1).send().await.unwrap();
        // The first message says that the queue was found.
        took.messages().iter().any(|message| message.body().unwrap().contains("\"a+key\"")).then_some(())
    })
    .await;

    let other = aws_sdk_sqs::Client::new(&ministack.account().config().await);
    assert_eq!(other.list_queues().send().await.unwrap().queue_urls(), [] as [&str; 0]);
}

#[tokio::test]
async fn elasticmq_takes_and_gives_messages() {
    let Some(elasticmq) = ElasticMq::shared().await else { return };
    through_a_queue(&elasticmq.account()).await;
}

#[tokio::test]
async fn kinesis_local_keeps_records_in_order() {
    let Some(kinesis) = KinesisLocal::shared().await else { return };
    through_a_stream(kinesis, 20).await;
}

#[tokio::test]
async fn kinesalite_keeps_records_in_order() {
    let Some(kinesis) = Kinesalite::shared().await else { return };
    through_a_stream(kinesis, 20).await;
}

/// Where a process listens, as the kernel writes addresses.
fn listening(pid: Pid) -> Vec<String> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let sockets: BTreeSet<String> = files
        .filter_map(|file| Some(std::fs::read_link(file.path()).ok()?.to_str()?.to_owned()))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1)).map(|row| row.split_whitespace().collect());
    // Address and port, state (0A is listening), and the number of the socket.
    let ours = rows.filter(|row: &Vec<&str>| row[3] == "0A" && sockets.contains(row[9]));
    ours.map(|row| row[1].split(':').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_stand_in_listens_on_this_machine_alone_and_leaves_nothing_at_the_end() {
    for script in ["ministack.sh", "elasticmq.sh", "kinesis-local.sh", "kinesalite.sh"] {
        let Some(stand_in) = StandIn::alone(script).await else { continue };
        let process = stand_in.part.process();
        let pid = process.pid().unwrap();
        let addresses = listening(pid);
        assert!(!addresses.is_empty(), "{script}");
        // 127.0.0.1 in the kernel's order of bytes, alone or within an address of IPv6.
        assert!(addresses.iter().all(|address| address.ends_with("0100007F")), "{script}: {addresses:?}");
        let directory = stand_in.part.directory().to_owned();
        drop(stand_in);
        gone(&process, &directory, pid);
    }
}
