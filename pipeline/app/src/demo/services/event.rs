//! Events of tasks, in the shape in which ECS sends them through EventBridge.

use bytes::Bytes;
use serde_json::json;

use super::fleet::Task;

/// The cluster of the demo.
pub(super) const CLUSTER: &str = "arn:aws:ecs:local:000000000000:cluster/demo";

/// The task definition of a revision.
pub(super) fn definition(revision: &str) -> String {
    format!("digits-{revision}:1")
}

/// An event of a task as it is now.
pub(super) fn event(task: &Task) -> Bytes {
    let status = if task.is_running { "RUNNING" } else { "STOPPED" };
    let now = crate::time::utc(millstream_engine::clock::now_ms());
    let mut detail = json!({
        "clusterArn": CLUSTER,
        "taskArn": format!("arn:aws:ecs:local:000000000000:task/demo/{}", task.id),
        "taskDefinitionArn": format!("arn:aws:ecs:local:000000000000:task-definition/{}", definition(task.revision)),
        "group": "service:digits",
        "lastStatus": status,
        "desiredStatus": status,
        "version": task.version,
        "createdAt": task.created_at,
        "startedAt": task.created_at,
        "launchType": "FARGATE",
        "containers": [{
            "name": "model",
            "lastStatus": status,
            "networkBindings": [],
            "networkInterfaces": [{ "attachmentId": task.id, "privateIpv4Address": task.address.to_string() }],
        }],
        "attachments": [{
            "id": task.id, "type": "eni", "status": "ATTACHED",
            "details": [{ "name": "privateIPv4Address", "value": task.address.to_string() }],
        }],
    });
    if !task.is_running
        && let Some(detail) = detail.as_object_mut()
    {
        detail.insert("stoppedAt".to_owned(), now.clone().into());
        detail.insert("stoppedReason".to_owned(), "Essential container in task exited".into());
    }
    let event = json!({
        "version": "0", "id": format!("{}-{}", task.id, task.version), "detail-type": "ECS Task State Change",
        "source": "aws.ecs", "account": "000000000000", "time": now, "region": "local", "resources": [],
        "detail": detail,
    });
    event.to_string().into()
}
