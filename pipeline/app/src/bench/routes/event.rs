//! The tasks of the benchmark, and their events in the shape in which ECS sends them through EventBridge.

use std::net::Ipv4Addr;

use serde_json::json;

/// The source of the events; its network has the same name.
pub(super) const SOURCE: &str = "bench";
/// Its cluster.
pub(super) const CLUSTER: &str = "arn:aws:ecs:local:000000000000:cluster/bench";
/// The ranges of all tasks. Nothing beyond this machine is dialled.
pub(super) const RANGE: &str = "127.64.0.0/10";
/// The port of every task.
pub(super) const PORT: u16 = 8067;
/// Stored tasks of a service.
pub(super) const OF_A_SERVICE: u32 = 1_000;

/// What is told of a task.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// Makes its id: no two tasks have the same one.
    pub(super) number: u64,
    pub(super) service: String,
    pub(super) address: Ipv4Addr,
    pub(super) version: u64,
    pub(super) is_running: bool,
}

impl Task {
    /// One of those that are stored before anything is measured; nobody listens on its address.
    pub(super) fn stored(number: u32) -> Task {
        Task {
            number: number.into(),
            service: stored_service(number / OF_A_SERVICE),
            address: Ipv4Addr::from_bits(Ipv4Addr::new(127, 96, 0, 1).to_bits() + (number & 0x000f_ffff)),
            version: 1,
            is_running: true,
        }
    }

    /// One of those whose first request is measured.
    pub(super) fn measured(number: u32) -> Task {
        Task {
            number: (1 << 40) + u64::from(number),
            service: measured_service(number),
            address: Ipv4Addr::from_bits(Ipv4Addr::new(127, 67, 0, 1).to_bits() + number),
            version: 1,
            is_running: true,
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> String {
        format!("{:032x}", self.number)
    }

    /// Its event now.
    pub(super) fn event(&self) -> String {
        let now = crate::time::utc(millstream_engine::clock::now_ms());
        let status = if self.is_running { "RUNNING" } else { "STOPPED" };
        let id = self.id();
        let address = self.address.to_string();
        let mut detail = json!({
            "clusterArn": CLUSTER,
            "taskArn": format!("arn:aws:ecs:local:000000000000:task/bench/{id}"),
            "taskDefinitionArn":
                format!("arn:aws:ecs:local:000000000000:task-definition/{}", definition(&self.service)),
            "group": "service:bench",
            "lastStatus": status,
            "desiredStatus": status,
            "version": self.version,
            "createdAt": now,
            "startedAt": now,
            "launchType": "FARGATE",
            "containers": [{
                "name": "model", "lastStatus": status, "networkBindings": [],
                "networkInterfaces": [{ "attachmentId": id, "privateIpv4Address": address }],
            }],
            "attachments": [{
                "id": id, "type": "eni", "status": "ATTACHED",
                "details": [{ "name": "privateIPv4Address", "value": address }],
            }],
        });
        if !self.is_running
            && let Some(detail) = detail.as_object_mut()
        {
            detail.insert("stoppedAt".to_owned(), now.clone().into());
        }
        let event = json!({
            "version": "0", "id": format!("{id}-{}", self.version), "detail-type": "ECS Task State Change",
            "source": "aws.ecs", "account": "000000000000", "time": now, "region": "local", "resources": [],
            "detail": detail,
        });
        event.to_string()
    }
}

/// A service of stored tasks.
pub(super) fn stored_service(number: u32) -> String {
    format!("stored-{number}")
}

/// The service of one measured task.
pub(super) fn measured_service(number: u32) -> String {
    format!("measured-{number}")
}

/// The task definition of a service.
pub(super) fn definition(service: &str) -> String {
    format!("{service}:1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tasks_have_one_id_or_one_address() {
        let tasks = (0..3_000).flat_map(|number| [Task::stored(number), Task::measured(number)]);
        let mut seen = std::collections::BTreeSet::new();
        for task in tasks {
            assert!(seen.insert(task.id()), "{task:?}");
            assert!(seen.insert(task.address.to_string()), "{task:?}");
            assert!(task.address.octets()[1] & 0xc0 == 64, "{task:?} is outside of {RANGE}");
        }
    }
}
