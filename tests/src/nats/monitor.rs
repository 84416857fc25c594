//! What a server tells of itself at its monitoring port.

use serde_json::Value;

use crate::http_get;

/// Well if the server says that it and all its streams are: they are recovered
/// and, in a cluster, up to date with their leaders.
pub(super) async fn healthy(monitor: &str) -> Result<(), String> {
    let reply = http_get(&format!("{monitor}/healthz")).await.map_err(|e| e.to_string())?;
    match reply.status {
        200 => Ok(()),
        status => Err(format!("health is {status}: {}", reply.body.trim())),
    }
}

/// The page of JetStream, with every stream where `streams` is set.
pub(super) async fn jetstream(monitor: &str, streams: bool) -> Result<Value, String> {
    let url = format!("{monitor}/jsz?streams={streams}");
    let reply = http_get(&url).await.map_err(|e| e.to_string())?;
    serde_json::from_str(&reply.body).map_err(|e| format!("{url}: {e}"))
}

/// Who leads the cluster's own group, where all of its `size` members are
/// there and have caught up. Only the leader itself knows that.
pub(super) fn complete_meta_leader(jsz: &Value, size: usize) -> Result<&str, String> {
    let meta = &jsz["meta_cluster"];
    let leader = meta["leader"].as_str().ok_or("the cluster has no leader")?;
    let followers = meta["replicas"].as_array().ok_or("the leader does not tell of followers")?;
    let present =
        followers.iter().filter(|peer| peer["current"] == true && peer["offline"] != true).count();
    if meta["cluster_size"] != size || present + 1 != size {
        return Err(format!("{} of {size} servers have joined: {meta}", present + 1));
    }
    Ok(leader)
}

/// Who leads the stream `stream`, if that server knows.
pub(super) fn stream_leader<'a>(jsz: &'a Value, stream: &str) -> Option<&'a str> {
    let accounts = jsz["account_details"].as_array()?;
    let mut streams = accounts.iter().filter_map(|a| a["stream_detail"].as_array()).flatten();
    let found = streams.find(|detail| detail["name"] == stream)?;
    found["cluster"]["leader"].as_str()
}
