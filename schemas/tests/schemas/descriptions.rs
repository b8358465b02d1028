//! Content type, metadata and tags: what is taken, what is nobody's, and what does not hide an object.

use millstream_schemas::objects::{Decoded, Effect, FilterReason, OrderClass};

use crate::support::{aws, created, event, filtered, fixture, minio, one};

fn metadata(object: &str) -> Option<String> {
    event(&created(object)).description.and_then(|description| description.metadata).map(Into::into)
}

fn tags(object: &str) -> Option<String> {
    event(&created(object)).description.and_then(|description| description.tags).map(Into::into)
}

#[test]
fn values_that_are_no_text_are_taken_as_they_are_written() {
    let object = r#"{"key":"k","metadata":{"width":1024,"ratio":1.50,"big":12345678901234567890,"raw":true,"off":false,
        "none":null,"list":[1, "a"]}}"#;
    let expected = r#"{"big":"12345678901234567890","list":"[1, \"a\"]","off":"false","ratio":"1.50","raw":"true","width":"1024"}"#;
    assert_eq!(metadata(object).unwrap(), expected);
    assert_eq!(tags(r#"{"key":"k","tags":{"n":-1e3}}"#).unwrap(), r#"{"n":"-1e3"}"#);
    let ceph = r#"{"key":"k","tags":[{"key":"n","val":7},{"key":"b","val":true},{"key":"none"}]}"#;
    assert_eq!(tags(ceph).unwrap(), r#"{"b":"true","n":"7"}"#);
}

/// Of one name the larger value stays, so that no order of sending matters.
#[test]
fn a_name_that_stands_twice_hides_nothing() {
    for object in [
        r#"{"key":"k","size":5,"tags":{"a":"1","b":"2","a":"3"}}"#,
        r#"{"key":"k","size":5,"tags":{"a":"3","b":"2","a":"1"}}"#,
        r#"{"key":"k","size":5,"tags":[{"key":"a","val":"3"},{"key":"b","val":"2"},{"key":"a","val":"1"}]}"#,
    ] {
        assert_eq!(tags(object).unwrap(), r#"{"a":"3","b":"2"}"#, "{object}");
        assert_eq!(event(&created(object)).size, Some(5));
    }
    assert_eq!(metadata(r#"{"key":"k","userMetadata":{"A":"1","a":"2"}}"#).unwrap(), r#"{"a":"2"}"#);
    let prefixed = r#"{"key":"k","userMetadata":{"x-amz-meta-a":"1","x-amz-meta-b":"2","X-Amz-Meta-A":"3"}}"#;
    assert_eq!(metadata(prefixed).unwrap(), r#"{"a":"3","b":"2"}"#);
}

#[test]
fn what_is_wrong_in_a_description_hides_nothing_but_itself() {
    let rows: &[(&str, Option<&str>, Option<&str>)] = &[
        (r#""userMetadata":"a","tags":{"t":"1"}"#, None, Some(r#"{"t":"1"}"#)),
        (r#""metadata":[1,{"key":"b","val":"1"},{"val":"x"},{"key":7}]"#, Some(r#"{"b":"1"}"#), None),
        (r#""metadata":{"a":"1"},"userMetadata":{"b":"1"}"#, None, None),
        (r#""contentType":{},"tags":7"#, None, None),
        (r#""contentType":"a/b","contentType":"c/d""#, None, None),
    ];
    for (members, metadata, tags) in rows {
        let found = event(&created(&format!(r#"{{"key":"k","size":5,"eTag":"e",{members}}}"#)));
        assert_eq!((found.size, &*found.etag), (Some(5), "e"), "{members}");
        let description = found.description.unwrap_or_default();
        assert_eq!((description.metadata.as_deref(), description.tags.as_deref()), (*metadata, *tags), "{members}");
        assert_eq!(description.content_type, None, "{members}");
    }
}

#[test]
fn names_that_a_store_keeps_for_itself_are_no_metadata() {
    let names = [
        "x-minio-internal-inline-data",
        "X-Minio-Internal-Server-Side-Encryption-S3-Sealed-Key",
        "X-MINIO-INTERNAL-ACTUAL-SIZE",
        "x-minio-encryption-original-size",
        "x-rustfs-internal-crc",
        "X-Rustfs-Encryption-Iv",
        "X-Amz-Meta-X-Minio-Internal-Copied",
    ];
    for name in names {
        let object = format!(r#"{{"key":"k","userMetadata":{{"X-Amz-Meta-Team":"blue","{name}":"SEALED"}}}}"#);
        assert_eq!(metadata(&object).unwrap(), r#"{"team":"blue"}"#, "{name}");
        let alone = format!(r#"{{"key":"k","userMetadata":{{"{name}":"SEALED"}}}}"#);
        assert_eq!(metadata(&alone).unwrap(), "{}", "{name}");
    }
    // What only resembles them is the user's.
    let own = r#"{"key":"k","userMetadata":{"x-minio-team":"1","x-amz-meta-internal":"2","minio-internal-a":"3"}}"#;
    assert_eq!(metadata(own).unwrap(), r#"{"internal":"2","minio-internal-a":"3","x-minio-team":"1"}"#);
}

#[test]
fn the_header_of_tags_becomes_tags() {
    let rows = [
        ("stage=raw&team=blue", r#"{"stage":"raw","team":"blue"}"#),
        ("a+b=%C3%BC%26%3D&Empty=&flag", "{\"Empty\":\"\",\"a b\":\"ü&=\",\"flag\":\"\"}"),
        ("", "{}"),
        ("a=1&&a=2&", r#"{"a":"2"}"#),
        ("bad=%zz&nul=%00", r#"{"bad":"%zz","nul":"%00"}"#),
        ("plain=ü ü", r#"{"plain":"ü ü"}"#),
    ];
    for (header, expected) in rows {
        for name in ["X-Amz-Tagging", "x-amz-tagging"] {
            let object = format!(r#"{{"key":"k","userMetadata":{{"x-amz-meta-a":"1","{name}":"{header}"}}}}"#);
            let found = event(&created(&object)).description.unwrap();
            assert_eq!(found.tags.as_deref(), Some(expected), "{header}");
            assert_eq!(found.metadata.as_deref(), Some(r#"{"a":"1"}"#), "{header}");
        }
    }
    // Tags that stand for themselves are the later word.
    let both = r#"{"key":"k","tags":{"t":"1"},"userMetadata":{"X-Amz-Tagging":"t=2"}}"#;
    assert_eq!(tags(both).unwrap(), r#"{"t":"1"}"#);
    let own = r#"{"key":"k","userMetadata":{"X-Amz-Meta-X-Amz-Tagging":"t=2"}}"#;
    assert_eq!((metadata(own).as_deref(), tags(own)), (Some(r#"{"x-amz-tagging":"t=2"}"#), None));
}

const TAGGING: [&str; 4] = [
    "s3:ObjectCreated:PutTagging",
    "s3:ObjectCreated:DeleteTagging",
    "s3:ObjectCreated:PutRetention",
    "s3:ObjectCreated:PutLegalHold",
];

#[test]
fn a_change_of_tags_with_the_whole_description_describes_and_does_nothing_else() {
    for name in TAGGING {
        for tags in
            [r#""tags":{"stage":"done"}"#, r#""userMetadata":{"X-Amz-Meta-A":"1","X-Amz-Tagging":"stage=done"}"#]
        {
            let metadata = if tags.contains("userMetadata") { "" } else { r#""userMetadata":{"X-Amz-Meta-A":"1"},"# };
            // The sequencer is that of the object, an hour older than its tags.
            let object = format!(
                r#"{{"key":"k","size":100,"eTag":"old","versionId":"v1","contentType":"a/b",{metadata}{tags},"sequencer":"189BF2A6E0F68200"}}"#
            );
            let found = event(&minio(name, "2026-03-12T02:07:57Z", &object));
            assert_eq!((found.effect, &*found.version_id), (Effect::Describe, "v1"), "{name}");
            assert_eq!((found.size, &*found.etag), (None, ""), "{name}");
            assert_eq!((found.order.time, found.order.sequencer), (1_773_281_277 << 32, 0), "{name}");
            assert_eq!(found.order.class, OrderClass::Weak);
            let description = found.description.unwrap();
            assert_eq!(description.content_type.as_deref(), Some("a/b"));
            assert_eq!(description.metadata.as_deref(), Some(r#"{"a":"1"}"#));
            assert_eq!(description.tags.as_deref(), Some(r#"{"stage":"done"}"#));
        }
    }
}

#[test]
fn a_change_of_tags_with_less_than_that_is_filtered() {
    let parts = [r#""contentType":"a/b""#, r#""userMetadata":{"X-Amz-Meta-A":"1"}"#, r#""tags":{"stage":"done"}"#];
    for name in TAGGING {
        for kept in 0..7 {
            let members: Vec<&str> = (0..3).filter(|part| kept >> part & 1 == 1).map(|part| parts[part]).collect();
            let members: String = members.iter().map(|member| format!(",{member}")).collect();
            let text = minio(name, "2026-03-12T02:07:57Z", &format!(r#"{{"key":"k","size":100,"eTag":"e"{members}}}"#));
            assert_eq!(filtered(&one(&text)), (FilterReason::Tagging, name.to_owned()), "{members}");
        }
        // What would be refused as an event of its own changes no object, and is no fault.
        for object in
            [r#"{}"#, r#"{"key":"","contentType":"a/b","userMetadata":{},"tags":{}}"#, r#"{"key":"k","size":-1}"#]
        {
            assert!(matches!(one(&minio(name, "soon", object)), Decoded::Filtered { .. }), "{object}");
        }
    }
}

#[test]
fn a_size_that_minio_leaves_out_is_zero() {
    let size = |text: &str| event(text).size;
    let time = "2026-03-12T02:07:57Z";
    let put = "s3:ObjectCreated:Put";
    assert_eq!(size(&minio(put, time, r#"{"key":"k"}"#)), Some(0));
    assert_eq!(size(&minio(put, time, r#"{"key":"k","size":0}"#)), Some(0));
    // It says that it does not know.
    assert_eq!(size(&minio(put, time, r#"{"key":"k","size":null}"#)), None);
    assert_eq!(size(&minio(put, time, r#"{"key":"k","size":""}"#)), None);
    assert_eq!(size(&minio("s3:ObjectRemoved:Delete", time, r#"{"key":"k"}"#)), None);
    // Each mark of MinIO by itself.
    let marks = [r#""eventSource":"minio:s3","#, r#""source":{"host":"192.0.2.7"},"#];
    for mark in marks {
        let text = created(r#"{"key":"k"}"#).replacen("\"eventVersion\"", &format!("{mark}\"eventVersion\""), 1);
        assert_eq!(size(&text), Some(0), "{mark}");
    }
    // RustFS writes a zero, so that without one nothing is known; others likewise.
    let rustfs = minio(put, time, r#"{"key":"k"}"#).replace("minio:s3", "rustfs:s3");
    assert_eq!(size(&rustfs), None);
    assert_eq!(size(&created(r#"{"key":"k"}"#)), None);
    let ceph = created(r#"{"key":"k"}"#).replacen("\"s3\"", "\"opaqueData\":\"\",\"s3\"", 1);
    assert_eq!(size(&ceph), None);
}

#[test]
fn sizes_and_nulls_are_read_as_scality_writes_them() {
    let found = event(&fixture("scality.json"));
    assert_eq!((found.size, &*found.etag, &*found.version_id), (Some(2), "", ""));
    assert_eq!(event(&aws("ObjectCreated:Put", "2026-03-12T02:07:57Z", r#"{"key":"k","size":"0"}"#)).size, Some(0));
}
