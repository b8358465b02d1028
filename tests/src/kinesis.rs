//! A stream of Kinesis for one test, and records of users in one, as the Kinesis Producer Library puts them.
//!
//! The format is written here from its description, byte by byte, and not with the code that is tested.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use md5::{Digest as _, Md5};
use millstream_connectors::kinesis::Address;

use crate::parts::{Account, StandIn};
use crate::until;

/// A stand-in does within this whatever it was told.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of records in one call: Kinesis takes 5 MiB.
const CALL_BYTES: usize = 3 << 20;

/// A stream of its own.
#[derive(Debug)]
pub struct Shards {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub account: Account,
    /// Asks as that account does.
    pub client: Client,
}

/// A record to put into a certain shard.
#[derive(Clone, Debug)]
pub struct Put {
    /// The partition key.
    pub key: String,
    /// The hash that chooses the shard instead.
    pub hash: Option<String>,
    /// The bytes.
    pub data: Vec<u8>,
}

impl Shards {
    /// A stream with so many shards.
    pub async fn new(stand_in: &StandIn, shards: i32) -> Self {
        let account = stand_in.account();
        let name = account.stream("shards", shards).await;
        let client = Client::new(&account.config().await);
        Shards { name, account, client }
    }

    /// What a source or a producer is given to find it.
    pub async fn address(&self) -> Address {
        let config = Some(self.account.config().await);
        Address { stream: self.name.clone(), config, ..Address::default() }
    }

    /// The open and closed shards with the first hash of each.
    ///
    /// # Panics
    /// If the stand-in does not say.
    pub async fn hashes(&self) -> BTreeMap<String, String> {
        let listed = self.client.list_shards().stream_name(&self.name).send().await.expect("list the shards");
        let start = |range: Option<aws_sdk_kinesis::types::HashKeyRange>| range.expect("hashes").starting_hash_key;
        let shards = listed.shards.unwrap_or_default().into_iter();
        shards.map(|shard| (shard.shard_id, start(shard.hash_key_range))).collect()
    }

    /// Puts records in order, in as many calls as it takes.
    ///
    /// # Panics
    /// If one is not taken.
    pub async fn put(&self, records: &[Put]) {
        let mut left = records;
        while !left.is_empty() {
            let mut bytes = 0;
            let fits = |put: &&Put| {
                bytes += put.data.len();
                bytes <= CALL_BYTES
            };
            let count = left.iter().take(500).take_while(fits).count().max(1);
            let (now, later) = left.split_at(count);
            let entry = |put: &Put| {
                let built = PutRecordsRequestEntry::builder().partition_key(&put.key);
                let built = built.set_explicit_hash_key(put.hash.clone()).data(Blob::new(put.data.clone()));
                built.build().expect("a record")
            };
            let call = self.client.put_records().stream_name(&self.name);
            let put = call.set_records(Some(now.iter().map(entry).collect())).send().await.expect("put records");
            assert_eq!(put.failed_record_count.unwrap_or_default(), 0, "every record is taken");
            left = later;
        }
    }

    /// Divides a shard in the middle.
    ///
    /// # Panics
    /// If it cannot be divided.
    pub async fn split(&self, shard: &str) {
        let listed = self.client.list_shards().stream_name(&self.name).send().await.expect("list the shards");
        let found = listed.shards.unwrap_or_default().into_iter().find(|listed| listed.shard_id == shard);
        let range = found.and_then(|shard| shard.hash_key_range).expect("a shard with hashes");
        let number = |text: &str| text.parse::<u128>().expect("a hash");
        let first = number(&range.starting_hash_key);
        let last = number(&range.ending_hash_key);
        let middle = (first + (last - first) / 2 + 1).to_string();
        let call = self.client.split_shard().stream_name(&self.name).shard_to_split(shard);
        call.new_starting_hash_key(middle).send().await.expect("divide a shard");
        self.active().await;
    }

    /// Merges two neighbours.
    ///
    /// # Panics
    /// If they are none.
    pub async fn merge(&self, one: &str, other: &str) {
        let call = self.client.merge_shards().stream_name(&self.name).shard_to_merge(one);
        call.adjacent_shard_to_merge(other).send().await.expect("merge two shards");
        self.active().await;
    }

    /// Deletes the stream and makes it anew under its name.
    ///
    /// # Panics
    /// If that does not work.
    pub async fn recreate(&self, shards: i32) {
        let second = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let made = second();
        self.client.delete_stream().stream_name(&self.name).send().await.expect("delete the stream");
        until("the stream to be gone", READY_WITHIN, || async {
            self.client.describe_stream_summary().stream_name(&self.name).send().await.err().map(drop)
        })
        .await;
        // The moment it was made is all that tells it from the one before, and one stand-in knows only seconds.
        until("another second", READY_WITHIN, || async { (second() > made).then_some(()) }).await;
        let create = self.client.create_stream().stream_name(&self.name).shard_count(shards);
        create.send().await.expect("make it anew");
        self.active().await;
    }

    async fn active(&self) {
        until("the stream to be active", READY_WITHIN, || async {
            let summary = self.client.describe_stream_summary().stream_name(&self.name).send().await.ok()?;
            let status = summary.stream_description_summary?.stream_status;
            (status == StreamStatus::Active).then_some(())
        })
        .await;
    }
}

/// A record of a user.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// Its partition key.
    pub key: Vec<u8>,
    /// The hash that chooses its shard instead.
    pub hash: Option<String>,
    /// Names and values that go with it.
    pub tags: Vec<(Vec<u8>, Vec<u8>)>,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// Records of users as one record.
pub fn aggregate(users: &[User]) -> Vec<u8> {
    let mut keys = Vec::new();
    let mut hashes = Vec::new();
    let mut records = Vec::new();
    for (number, user) in users.iter().enumerate() {
        field(1, &user.key, &mut keys);
        let mut record = vec![0x08];
        varint(number as u64, &mut record);
        if let Some(hash) = &user.hash {
            record.push(0x10);
            // The table of hashes has one entry for each record that has a hash.
            varint(users.iter().take(number).filter(|user| user.hash.is_some()).count() as u64, &mut record);
            field(2, hash.as_bytes(), &mut hashes);
        }
        field(3, &user.data, &mut record);
        for (name, value) in &user.tags {
            let mut tag = Vec::new();
            field(1, name, &mut tag);
            field(2, value, &mut tag);
            field(4, &tag, &mut record);
        }
        field(3, &record, &mut records);
    }
    let message = [keys, hashes, records].concat();
    [&[0xf3, 0x89, 0x9a, 0xc2], &*message, &Md5::digest(&message)].concat()
}

/// The hash of a key, as Kinesis computes it.
pub fn hash(key: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(key).into())
}

/// A field with a length, as protobuf has it.
fn field(number: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(number << 3 | 2);
    varint(bytes.len() as u64, into);
    into.extend(bytes);
}

fn varint(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}
