//! The published vectors of order, through the tables: what is stored compares as the vectors say.

use serde_json::{Value, json};

use millstream_tests::{Writer, database};

#[tokio::test]
async fn what_is_stored_is_what_the_vectors_say() {
    let file: Value = serde_json::from_str(include_str!("../../schemas/fixtures/order_vectors.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let database = database().await;
    let mut writer = Writer::new("objects", database.options(), &["0"]).await;
    let mut stored = 0;
    for (number, vector) in vectors.iter().enumerate() {
        let key = format!("vector{number}");
        let mut record = json!({
            "eventVersion": "2.1", "eventName": "ObjectCreated:Put",
            "s3": { "bucket": { "name": "b" }, "object": { "key": key, "size": 1 } },
        });
        if !vector["time"].is_null() {
            record["eventTime"] = vector["time"].clone();
        }
        if !vector["sequencer"].is_null() {
            record["s3"]["object"]["sequencer"] = vector["sequencer"].clone();
        }
        let published_at_ms = vector["published_at_ms"].as_i64().unwrap();
        let payload = json!({ "Records": [record] }).to_string().into_bytes();
        let batch = writer.batch_published(&[("0", vec![payload])], published_at_ms);
        writer.write(&batch).await.unwrap();
        let mut connection = database.connect().await;
        let row: Option<(String, String, String)> = sqlx::query_as(
            "SELECT (order_time::numeric + 9223372036854775808)::text, (order_seq::numeric + 9223372036854775808)::text,
                    (ARRAY['undated', 'weak', 'clock', 'strong'])[order_class + 1]
             FROM millstream.objects WHERE key = $1",
        )
        .bind(&key)
        .fetch_optional(&mut connection)
        .await
        .unwrap();
        match vector["refused"].as_str() {
            Some(reason) => {
                assert!(row.is_none(), "{vector}");
                let kept = format!(
                    "SELECT count(*) FROM millstream.quarantine WHERE position = '{number}' AND reason = '{reason}'"
                );
                assert_eq!(database.number(&kept).await, 1, "{vector}");
            }
            None => {
                let text = |name: &str| vector[name].as_str().unwrap().to_owned();
                assert_eq!(row, Some((text("fixed_point"), text("sequencer_number"), text("class"))), "{vector}");
                stored += 1;
            }
        }
    }
    assert!(stored >= 10, "{stored} of {} vectors", vectors.len());
}
