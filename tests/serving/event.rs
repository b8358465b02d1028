//! Events of tasks, in every shape in which they come.

use serde_json::{Value, json};

/// The cluster of the tasks.
pub(crate) const CLUSTER: &str = "arn:aws:ecs:eu-central-1:111122223333:cluster/models";

/// A task as its scheduler sees it.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) cluster: &'static str,
    pub(crate) definition: String,
    pub(crate) address: Option<String>,
    pub(crate) version: u64,
    pub(crate) status: &'static str,
    pub(crate) desired: &'static str,
}

impl Task {
    /// A task that runs, of `digits-blue:1`, at an address.
    pub(crate) fn running(id: &str, address: &str) -> Task {
        Task {
            id: id.to_owned(),
            cluster: CLUSTER,
            definition: "digits-blue:1".to_owned(),
            address: Some(address.to_owned()),
            version: 3,
            status: "RUNNING",
            desired: "RUNNING",
        }
    }

    /// The same later.
    pub(crate) fn next(&self, status: &'static str, desired: &'static str) -> Task {
        Task { version: self.version + 1, status, desired, ..self.clone() }
    }

    fn arn(&self) -> String {
        arn(&self.id)
    }

    /// As DescribeTasks has it, and as `detail` of an event.
    pub(crate) fn detail(&self) -> Value {
        let interfaces: Vec<Value> =
            self.address.iter().map(|address| json!({ "privateIpv4Address": address })).collect();
        json!({
            "taskArn": self.arn(), "clusterArn": self.cluster, "group": "service:digits",
            "taskDefinitionArn": format!("arn:aws:ecs:eu-central-1:111122223333:task-definition/{}", self.definition),
            "lastStatus": self.status, "desiredStatus": self.desired, "version": self.version,
            "createdAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:10Z",
            "containers": [{ "name": "model", "lastStatus": self.status, "networkInterfaces": interfaces }],
        })
    }

    /// As EventBridge sends it.
    pub(crate) fn bridge(&self) -> Value {
        json!({
            "version": "0", "id": format!("{}-{}", self.id, self.version), "detail-type": "ECS Task State Change",
            "source": "aws.ecs", "account": "111122223333", "time": "2026-01-01T00:00:11Z", "region": "eu-central-1",
            "resources": [self.arn()], "detail": self.detail(),
        })
    }

    /// As a plain CloudEvent.
    pub(crate) fn plain(&self) -> Value {
        json!({
            "specversion": "1.0", "id": format!("{}-{}", self.id, self.version), "source": "/test",
            "type": "millstream.task.v1", "time": "2026-01-01T00:00:11Z",
            "data": {
                "id": self.id, "cluster": self.cluster, "definition": self.definition, "status": self.status,
                "desired_status": self.desired, "sequence": self.version, "addresses": self.address.iter().collect::<Vec<_>>(),
            },
        })
    }
}

/// The ARN of a task.
pub(crate) fn arn(id: &str) -> String {
    format!("arn:aws:ecs:eu-central-1:111122223333:task/models/{id}")
}

/// The answer of DescribeTasks.
pub(crate) fn described(tasks: &[Task], missing: &[&str]) -> Value {
    let failures: Vec<Value> = missing.iter().map(|id| json!({ "arn": arn(id), "reason": "MISSING" })).collect();
    json!({ "tasks": tasks.iter().map(Task::detail).collect::<Vec<_>>(), "failures": failures })
}
