// Package defaults holds the alert rules that every cluster begins with, each with a runbook in docs/runbooks.
package defaults

import (
	"time"

	"github.com/skein-project/skein/alert"
	"github.com/skein-project/skein/series"
)

// Rules lists the rules by id. They are on; a cluster that edits or disables one keeps its own. The slice is the caller's.
func Rules() []alert.Rule {
	return []alert.Rule{
		rule("batch-callback-given-up", alert.OverTenant, alert.Warning, 0,
			`increase("skein_batch_callbacks_given_up_total", "10m") > 0.0`,
			"{value} batches of {tenant} are over, and the address that was to be told takes no callback"),
		rule("batches-standing-still", alert.OverTenant, alert.Warning, 5*time.Minute,
			`min("skein_batch_still_seconds", "2m") > 1800.0`,
			"No batch of {tenant} has moved for {value} s"),
		rule("calls-limited", alert.OverTenant, alert.Warning, 5*time.Minute,
			`rate("skein_gateway_requests_total", "5m", {"outcome": "limited"}) / rate("skein_gateway_requests_total", "5m") > 0.1 && increase("skein_gateway_requests_total", "5m", {"outcome": "limited"}) >= 10`,
			"{value} of the requests of {tenant} are refused by one of its limits"),
		rule("calls-too-few", alert.OverTenant, alert.Warning, 15*time.Minute,
			`rate("skein_gateway_requests_total", "30m") < 0.3 * baseline("skein_gateway_requests_total", "7d") && baseline("skein_gateway_requests_total", "7d") > 0.05`,
			"{tenant} sends {value} requests a second, less than a third of what is usual at this time"),
		rule("calls-too-many", alert.OverTenant, alert.Warning, 10*time.Minute,
			`rate("skein_gateway_requests_total", "15m") > 3.0 * baseline("skein_gateway_requests_total", "7d") && rate("skein_gateway_requests_total", "15m") > 1.0`,
			"{tenant} sends {value} requests a second, more than three times what is usual at this time"),
		rule("certificate-ending", alert.OverMember, alert.Critical, 5*time.Minute,
			`max("skein_certificate_left_seconds", "5m") < 21600.0`,
			"The certificate of {member} ends in {value} s and was not renewed"),
		rule("disk-nearly-full", alert.OverNode, alert.Warning, 5*time.Minute,
			`max("skein_disk_free_ratio", "5m") < 0.1`,
			"The disk of {node} has {value} of its space left"),
		rule("gateway-silent", alert.OverGateway, alert.Critical, 0,
			`last("skein_gateway_silent_seconds", "1m") > 30.0`,
			"The gateway {gateway} was last heard {value} s ago"),
		rule("gpu-failed", alert.OverDevice, alert.Critical, 30*time.Second, // a node that starts has not asked its devices yet
			`max("skein_gpu_healthy", "1m") < 1.0`,
			"The GPU {UUID} of {Hostname} takes no work: it failed or is quarantined"),
		rule("gpu-hot", alert.OverDevice, alert.Warning, 5*time.Minute,
			`min("DCGM_FI_DEV_GPU_TEMP", "2m") > 87.0`,
			"The GPU {UUID} of {Hostname} has stayed above 87 °C, now {value}"),
		rule("gpu-memory-full", alert.OverDevice, alert.Warning, 10*time.Minute,
			`min("DCGM_FI_DEV_FB_USED", "2m") / (min("DCGM_FI_DEV_FB_USED", "2m") + max("DCGM_FI_DEV_FB_FREE", "2m")) > 0.98`,
			"The memory of the GPU {UUID} of {Hostname} is full: {value} of it is used"),
		rule("gpu-xid", alert.OverDevice, alert.Warning, 0,
			`max("DCGM_FI_DEV_XID_ERRORS", "5m") > 0.0`,
			"The driver of the GPU {UUID} of {Hostname} reported XID {value}"),
		rule("high-error-rate", alert.OverVersion, alert.Critical, 2*time.Minute,
			`rate("skein_gateway_requests_total", "5m", {"outcome": "failed"}) / rate("skein_gateway_requests_total", "5m") > 0.05 && increase("skein_gateway_requests_total", "5m", {"outcome": "failed"}) >= 5`,
			"{value} of the requests for {version} fail"),
		rule("high-latency", alert.OverVersion, alert.Warning, 5*time.Minute,
			`p("gen_ai_server_request_duration_seconds", 0.95, "10m") > 60.0 && increase("gen_ai_server_request_duration_seconds", "10m") >= 10`,
			"One request in twenty for {version} takes more than {value} s"),
		rule("log-apply-lag", alert.OverCoordinator, alert.Warning, 2*time.Minute,
			`min("skein_raft_apply_lag_entries", "1m") > 1000.0`,
			"The coordinator {coordinator} is {value} entries behind the log"),
		rule("node-lost", alert.OverNode, alert.Critical, 0,
			`last("skein_node_lost", "1m") > 0.0`,
			"The node {node} is lost"),
		rule("queue-too-long", alert.OverVersion, alert.Warning, 5*time.Minute,
			`sum("skein_gateway_waiting_requests", "2m") > 16.0`,
			"{value} requests wait for {version}"),
		rule("quorum-at-risk", alert.OverCluster, alert.Critical, time.Minute,
			`last("skein_raft_voters", "2m") > 1.0 && max("skein_raft_voters_spare", "1m") < 1.0`,
			"No coordinator may be lost any more: of {value} voters only a majority answers"),
		rule("quota-burning", alert.OverLimit, alert.Info, 15*time.Minute,
			burning("6h", "30m", "1.0"),
			"The {meter} of {limit} for this {window} will not last until its end: at the pace of the last 6 h they would come to {value} times the limit"),
		rule("quota-burning-fast", alert.OverLimit, alert.Warning, 5*time.Minute,
			burning("1h", "5m", "0.5"),
			"The {meter} of {limit} for this {window} will be gone in less than half of the time that is left: at the pace of the last hour they would come to {value} times the limit by then"),
		rule("quota-nearly-used", alert.OverTenant, alert.Warning, time.Minute,
			`last("skein_quota_used_ratio", "5m") > 0.9`,
			"{tenant} has used {value} of one of its limits"),
		rule("replicas-missing", alert.OverVersion, alert.Warning, 10*time.Minute,
			`last("skein_replicas_wanted", "2m") > last("skein_replicas_ready", "2m")`,
			"{version} should have {value} replicas, and fewer are ready"),
		rule("results-dropped", alert.OverGateway, alert.Critical, 0,
			`increase("skein_gateway_results_dropped_total", "10m") > 0.0`,
			"The gateway {gateway} lost {value} records of requests on their way to the results database"),
		rule("results-spool-growing", alert.OverGateway, alert.Warning, 5*time.Minute,
			`min("skein_gateway_results_spool_ratio", "2m") > 0.5`,
			"Records of requests wait on the disk of {gateway}: {value} of their room is used, and when it is full they are lost"),
		rule("slow-first-token", alert.OverVersion, alert.Warning, 5*time.Minute,
			`p("gen_ai_server_time_to_first_token_seconds", 0.95, "10m") > 5.0 && increase("gen_ai_server_time_to_first_token_seconds", "10m") >= 10`,
			"One answer in twenty of {version} begins after more than {value} s"),
		rule("throughput-drop", alert.OverVersion, alert.Warning, 5*time.Minute,
			`rate("skein_gateway_tokens_total", "5m", {"type": "output"}) < 0.5 * rate("skein_gateway_tokens_total", "1h", {"type": "output"}) && sum("skein_gateway_waiting_requests", "5m") > 1.0`,
			"{version} makes {value} tokens a second, half of the hour's rate, while requests wait"),
		rule("version-at-risk", alert.OverVersion, alert.Critical, 2*time.Minute,
			`max("skein_version_copies", "2m") < max("skein_version_copies_wanted", "2m")`,
			"The blobs of {version} are on {value} coordinators that answer: too few to lose one, and no bucket has them"),
	}
}

// burning says that at the pace of a long window, and of a short one, so that it ends when the calls do, an amount is gone before a share of the time that is
// left of its day or month has passed. What is used up already has a rule of its own.
func burning(long, short, share string) string {
	const used, left = `last("skein_quota_used_ratio", "5m")`, `last("skein_quota_left_seconds", "5m")`
	by := func(window string) string {
		return used + ` + rate("skein_quota_spent_ppm_total", "` + window + `") / 1000000.0 * ` + share + ` * ` + left + ` > 1.0`
	}
	return by(long) + " && " + by(short) + " && " + used + " < 1.0"
}

func rule(id string, over alert.Scope, severity alert.Severity, wait time.Duration, expr, summary string) alert.Rule {
	return alert.Rule{
		ID: id, Expr: expr, Over: over, For: alert.Duration(wait), Severity: severity, Labels: series.Of("origin", "skein"),
		Annotations: alert.Annotations{Summary: summary, Runbook: "docs/runbooks/" + id + ".md"},
	}
}
