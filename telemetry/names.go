// Package telemetry is how a process shows what it measures: one Prometheus registry, one OpenTelemetry tracer, and the names of both in one place.
package telemetry

// Name is the name of a metric as Prometheus knows it.
type Name string

// GenAI metrics (OpenTelemetry semantic conventions for generative AI, release 1.37, written as Prometheus writes them).
const (
	RequestDuration    Name = "gen_ai_server_request_duration_seconds"
	TimeToFirstToken   Name = "gen_ai_server_time_to_first_token_seconds"
	TimePerOutputToken Name = "gen_ai_server_time_per_output_token_seconds"
	TokenUsage         Name = "gen_ai_client_token_usage"
)

// Metrics of GPUs, by the names and labels of NVIDIA's dcgm-exporter, so that its dashboards work unchanged.
const (
	GPUUtil    Name = "DCGM_FI_DEV_GPU_UTIL"
	GPUUsed    Name = "DCGM_FI_DEV_FB_USED"
	GPUFree    Name = "DCGM_FI_DEV_FB_FREE"
	GPUTemp    Name = "DCGM_FI_DEV_GPU_TEMP"
	GPUPower   Name = "DCGM_FI_DEV_POWER_USAGE"
	GPUXID     Name = "DCGM_FI_DEV_XID_ERRORS"
	GPUHealthy Name = "skein_gpu_healthy"
)

// Metrics of the log and of the leader.
const (
	RaftTerm          Name = "skein_raft_term"
	RaftCommitIndex   Name = "skein_raft_commit_index"
	RaftAppliedIndex  Name = "skein_raft_applied_index"
	RaftIsLeader      Name = "skein_raft_is_leader"
	RaftLeaderChanges Name = "skein_raft_leader_changes_total"
	RaftApply         Name = "skein_raft_apply_seconds"
	RaftLogBytes      Name = "skein_raft_log_bytes"
	RaftSnapshotAge   Name = "skein_raft_snapshot_age_seconds"
	BackupAge         Name = "skein_backup_age_seconds"
	RaftApplyLag      Name = "skein_raft_apply_lag_entries"
	RaftVoters        Name = "skein_raft_voters"
	RaftVotersSpare   Name = "skein_raft_voters_spare"
	GatewaySilent     Name = "skein_gateway_silent_seconds"
	NodeSilent        Name = "skein_node_silent_seconds"
	NodeLost          Name = "skein_node_lost"
	QuotaUsed         Name = "skein_quota_used_ratio"
	QuotaLeft         Name = "skein_quota_left_seconds"
	QuotaSpent        Name = "skein_quota_spent_ppm_total"
	VersionCopies     Name = "skein_version_copies"
	Batches           Name = "skein_batches"
	BatchLines        Name = "skein_batch_lines"
	BatchOldest       Name = "skein_batch_oldest_seconds"
	BatchStill        Name = "skein_batch_still_seconds"
	BatchGivenUp      Name = "skein_batch_callbacks_given_up_total"
	VersionCopiesWant Name = "skein_version_copies_wanted"

	SchedulerSteps      Name = "skein_scheduler_steps_total"
	SchedulerStep       Name = "skein_scheduler_step_seconds"
	SchedulerPending    Name = "skein_scheduler_pending_proposals"
	SchedulerPlacements Name = "skein_scheduler_placements_total"
	SchedulerRefusals   Name = "skein_scheduler_refusals_total"

	Nodes         Name = "skein_nodes"
	ReplicasReady Name = "skein_replicas_ready"
	ReplicasWant  Name = "skein_replicas_wanted"
	SlotsUsed     Name = "skein_kv_slots_used"
	SlotsTotal    Name = "skein_kv_slots"
)

// Metrics of a gateway.
const (
	Requests   Name = "skein_gateway_requests_total"
	Running    Name = "skein_gateway_running_requests"
	Waiting    Name = "skein_gateway_waiting_requests"
	Replays    Name = "skein_gateway_replays_total"
	Picks      Name = "skein_gateway_picks_total"
	StateIndex Name = "skein_gateway_state_index"
	TokensAll  Name = "skein_gateway_tokens_total"
	Panics     Name = "skein_gateway_panics_total"

	ResultsKept    Name = "skein_gateway_results_kept_total"
	ResultsDropped Name = "skein_gateway_results_dropped_total"
	ResultsWaiting Name = "skein_gateway_results_waiting"
	ResultsSpool   Name = "skein_gateway_results_spool_ratio"
)

// Metrics of a node and its workers.
const (
	WorkerSteps    Name = "skein_worker_forward_steps_total"
	WorkerStep     Name = "skein_worker_step_seconds"
	WorkerRows     Name = "skein_worker_batch_rows"
	WorkerRestarts Name = "skein_worker_restarts_total"
	StagesHeld     Name = "skein_node_stages"
)

// Metrics that every program has.
const (
	BuildInfo       Name = "skein_build_info"
	BlobsFetched    Name = "skein_blobs_fetched_bytes_total"
	BlobsServed     Name = "skein_blobs_served_bytes_total"
	DiskFree        Name = "skein_disk_free_bytes"
	DiskFreeRatio   Name = "skein_disk_free_ratio"
	CertificateLeft Name = "skein_certificate_left_seconds"
	LabelsFolded    Name = "skein_metrics_folded_series"
	AdminRefused    Name = "skein_admin_refused_total"
)

// Kind is the sort of a metric.
type Kind string

// Kinds.
const (
	Gauge         Kind = "gauge"
	Counter       Kind = "counter"
	HistogramKind Kind = "histogram"
)

// Metric describes what a name means.
type Metric struct {
	Name   Name
	Kind   Kind
	Help   string
	Labels []string
	Bounds []float64 // upper bounds of a histogram's buckets, without +Inf
	From   string    // the programs that have it
	Source string    // who defined the name
}

// Buckets as the conventions name them; those of our own times grow by powers of two.
var (
	durationBounds = []float64{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}                      // seconds
	firstBounds    = []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}                        // seconds
	perTokenBounds = []float64{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5}                                       // seconds
	tokenBounds    = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}                   // tokens
	shortBounds    = []float64{0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3}                                  // seconds
	stepBounds     = []float64{0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192}    // seconds
	rowBounds      = []float64{1, 2, 4, 8, 16, 32, 64, 128}                                                                                 // rows
	genAI          = []string{"gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model"}             // of every GenAI metric
	genAIError     = []string{"gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model", errorLabel} // "" = it went well
	genAIToken     = []string{"gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model", "gen_ai_token_type"}
	dcgm           = []string{"gpu", "UUID", "modelName", "Hostname"}
)

const errorLabel = "error_type"

// Who defined a name.
const (
	fromGenAI = "OpenTelemetry GenAI conventions"
	fromDCGM  = "NVIDIA dcgm-exporter"
	fromSkein = "Skein"
)

// Programs that have a metric.
const (
	inGateways     = "coordinators with a client API, gateways"
	inCoordinators = "coordinators"
	inLeader       = "the coordinator that leads"
	inNodes        = "nodes"
	inGPUs         = "the coordinator that leads (every node), nodes (their own)"
	inAll          = "all"
)

// Metrics is every metric there is, in the order of the documentation.
var Metrics = []Metric{
	{RequestDuration, HistogramKind, "Time from a request's arrival to the end of its answer in seconds.", genAIError, durationBounds, inGateways, fromGenAI},
	{TimeToFirstToken, HistogramKind, "Time from a request's arrival to the first token of its answer in seconds, of answers that have tokens.", genAI, firstBounds, inGateways, fromGenAI},
	{TimePerOutputToken, HistogramKind, "Mean time between two tokens of an answer in seconds, of answers of two tokens or more.", genAI, perTokenBounds, inGateways, fromGenAI},
	{TokenUsage, HistogramKind, "Tokens of a request (input) and of its answer (output).", genAIToken, tokenBounds, inGateways, fromGenAI},

	{Requests, Counter, "Requests of the inference API, by how they ended.", []string{"operation", "tenant", "model", "version", "outcome"}, nil, inGateways, fromSkein},
	{TokensAll, Counter, "Tokens of requests (input) and of answers (output).", []string{"tenant", "model", "version", "type"}, nil, inGateways, fromSkein},
	{Running, Gauge, "Requests that this gateway has at replicas now.", []string{"version"}, nil, inGateways, fromSkein},
	{Waiting, Gauge, "Requests at this gateway that wait for a replica now.", []string{"version"}, nil, inGateways, fromSkein},
	{Picks, Counter, "Times that a replica was chosen for a request.", []string{"version"}, nil, inGateways, fromSkein},
	{Replays, Counter, "Times that a request was given to another replica because the one before failed.", []string{"version"}, nil, inGateways, fromSkein},
	{Panics, Counter, "Requests, or parts of them, that ended in a panic, which is in the log with its stack: each is a defect.", nil, nil, inGateways, fromSkein},
	{StateIndex, Gauge, "Index of the newest entry of the log that this gateway has applied.", nil, nil, inGateways, fromSkein},

	{ResultsKept, Counter, "Records of requests that a results database or a bucket has taken.", nil, nil, inGateways, fromSkein},
	{ResultsDropped, Counter, "Records of requests that are lost: the queue in memory was full (queue), the spool on the disk was full or could not be written (spool), a record was malformed (refused), or a file of the spool was damaged (damage: files).", []string{"reason"}, nil, inGateways, fromSkein},
	{ResultsWaiting, Gauge, "Records of requests that wait on this gateway's disk for the results database.", nil, nil, inGateways, fromSkein},
	{ResultsSpool, Gauge, "Used share of the room that records of requests may take on this gateway's disk, 0 to 1.", nil, nil, inGateways, fromSkein},

	{GPUUtil, Gauge, "GPU utilisation in percent.", dcgm, nil, inGPUs, fromDCGM},
	{GPUUsed, Gauge, "Frame buffer in use in MiB.", dcgm, nil, inGPUs, fromDCGM},
	{GPUFree, Gauge, "Frame buffer that is free in MiB.", dcgm, nil, inGPUs, fromDCGM},
	{GPUTemp, Gauge, "GPU temperature in degrees Celsius.", dcgm, nil, inGPUs, fromDCGM},
	{GPUPower, Gauge, "Power draw in watts.", dcgm, nil, inGPUs, fromDCGM},
	{GPUXID, Gauge, "Number of the last XID error, 0 if there was none.", dcgm, nil, inGPUs, fromDCGM},
	{GPUHealthy, Gauge, "Whether work may be placed on the device (1) or not (0).", []string{"UUID", "Hostname"}, nil, inGPUs, fromSkein},

	{RaftTerm, Gauge, "Term of the log.", nil, nil, inCoordinators, fromSkein},
	{RaftCommitIndex, Gauge, "Index of the newest committed entry.", nil, nil, inCoordinators, fromSkein},
	{RaftAppliedIndex, Gauge, "Index of the newest applied entry.", nil, nil, inCoordinators, fromSkein},
	{RaftIsLeader, Gauge, "Whether this coordinator leads (1) or not (0).", nil, nil, inCoordinators, fromSkein},
	{RaftLeaderChanges, Counter, "Changes of the leader, as this coordinator saw them.", nil, nil, inCoordinators, fromSkein},
	{RaftApply, HistogramKind, "Time to apply an entry to the state in seconds.", nil, shortBounds, inCoordinators, fromSkein},
	{RaftLogBytes, Gauge, "Bytes of the entries in the log.", nil, nil, inCoordinators, fromSkein},
	{RaftSnapshotAge, Gauge, "Age of the newest snapshot in seconds; absent if there is none.", nil, nil, inCoordinators, fromSkein},
	{Batches, Gauge, "Batches of a tenant that are not over; state is waiting (nobody works it) or running.", []string{"state", "tenant"}, nil, inCoordinators, fromSkein},
	{BatchLines, Gauge, "Lines of a tenant's batches that are not over; outcome is answered, failed or left.", []string{"outcome", "tenant"}, nil, inCoordinators, fromSkein},
	{BatchOldest, Gauge, "Time since the oldest batch of a tenant that is not over began, in seconds.", []string{"tenant"}, nil, inCoordinators, fromSkein},
	{BatchStill, Gauge, "Time since any batch moved, of a tenant that has some that are not over, in seconds.", []string{"tenant"}, nil, inCoordinators, fromSkein},
	{BatchGivenUp, Counter, "Batches of a tenant that nobody could be told of when they were over, given up by this coordinator.", []string{"tenant"}, nil, inCoordinators, fromSkein},
	{BackupAge, Gauge, "Age of the newest backup in seconds, as the cluster knows of it; absent if there is none.", nil, nil, inCoordinators, fromSkein},

	{RaftApplyLag, Gauge, "Committed entries that a coordinator has not applied.", []string{"coordinator"}, nil, inCoordinators, fromSkein},
	{RaftVoters, Gauge, "Voters of the log.", nil, nil, inLeader, fromSkein},
	{RaftVotersSpare, Gauge, "Voters that answer, beyond the majority.", nil, nil, inLeader, fromSkein},
	{GatewaySilent, Gauge, "Time since a gateway was last heard in seconds.", []string{"gateway"}, nil, inLeader, fromSkein},
	{NodeSilent, Gauge, "Time since a node last reported in seconds.", []string{"node"}, nil, inLeader, fromSkein},
	{NodeLost, Gauge, "Whether a node is lost (1) or not (0).", []string{"node"}, nil, inCoordinators, fromSkein},
	{QuotaUsed, Gauge, "Used share of a limit that is an amount for a day, a month or for ever, 0 to 1.", []string{"limit", "meter", "model", "tenant", "window"}, nil, inCoordinators, fromSkein},
	{QuotaLeft, Gauge, "Seconds until the day or month of a limit ends.", []string{"limit", "meter", "model", "tenant", "window"}, nil, inCoordinators, fromSkein},
	{QuotaSpent, Counter, "What is spent of a limit in millionths of its amount; it begins anew with its day or month.", []string{"limit", "meter", "model", "tenant", "window"}, nil, inCoordinators, fromSkein},
	{VersionCopies, Gauge, "Coordinators that answer and have all blobs of a version.", []string{"version"}, nil, inLeader, fromSkein},
	{VersionCopiesWant, Gauge, "Coordinators that should have all blobs of a version: 2 where there are 2; 0 where a bucket has them.", []string{"version"}, nil, inLeader, fromSkein},

	{AdminRefused, Counter, "Calls of the operator's API that were refused: nobody known called, or somebody who may not.", []string{"reason"}, nil, inCoordinators, fromSkein},

	{SchedulerSteps, Counter, "Steps of the scheduler while this coordinator led.", nil, nil, inCoordinators, fromSkein},
	{SchedulerStep, HistogramKind, "Time of a step of the scheduler in seconds.", nil, shortBounds, inCoordinators, fromSkein},
	{SchedulerPending, Gauge, "Proposals of the scheduler that are not answered yet.", nil, nil, inCoordinators, fromSkein},
	{SchedulerPlacements, Counter, "Replicas that the scheduler placed.", nil, nil, inCoordinators, fromSkein},
	{SchedulerRefusals, Counter, "Reasons that the scheduler gave for what it did not do.", nil, nil, inCoordinators, fromSkein},

	{Nodes, Gauge, "Nodes, by their status.", []string{"status"}, nil, inCoordinators, fromSkein},
	{ReplicasWant, Gauge, "Replicas that a version should have.", []string{"version"}, nil, inCoordinators, fromSkein},
	{ReplicasReady, Gauge, "Replicas of a version that take requests.", []string{"version"}, nil, inCoordinators, fromSkein},
	{SlotsUsed, Gauge, "Sequences at the replicas of a version: those that run and those that wait there.", []string{"version"}, nil, inLeader, fromSkein},
	{SlotsTotal, Gauge, "Sequences that the ready replicas of a version hold in their caches at most.", []string{"version"}, nil, inCoordinators, fromSkein},

	{WorkerSteps, Counter, "Forward steps of the workers.", []string{"device", "kind"}, nil, inNodes, fromSkein},
	{WorkerStep, HistogramKind, "Time of a forward step of one stage on its device in seconds.", []string{"device", "kind"}, stepBounds, inNodes, fromSkein},
	{WorkerRows, HistogramKind, "Rows of a decoding step.", []string{"device"}, rowBounds, inNodes, fromSkein},
	{WorkerRestarts, Counter, "Workers that ended and were started again.", []string{"device"}, nil, inNodes, fromSkein},
	{StagesHeld, Gauge, "Stages that this node holds, by their status.", []string{"status"}, nil, inNodes, fromSkein},

	{BlobsFetched, Counter, "Bytes of models fetched from other members.", nil, nil, "coordinators, nodes", fromSkein},
	{BlobsServed, Counter, "Bytes of models that other members fetched from this one.", nil, nil, "coordinators, nodes", fromSkein},
	{DiskFree, Gauge, "Bytes that are free on the disk of the data directory.", nil, nil, inAll, fromSkein},
	{DiskFreeRatio, Gauge, "Free share of the file system of the data directory, 0 to 1.", nil, nil, inAll, fromSkein},
	{CertificateLeft, Gauge, "Seconds until this member's certificate ends.", nil, nil, inAll, fromSkein},
	{LabelsFolded, Gauge, "Series of this answer that were added up under the label value other, because a metric had too many.", nil, nil, inAll, fromSkein},
	{BuildInfo, Gauge, "Always 1; the labels say what runs.", []string{"version", "goversion"}, nil, inAll, fromSkein},
}

// Aliases are metrics under the names of vLLM, given on /metrics?compat=vllm.
var Aliases = []Metric{
	{"vllm:num_requests_running", Gauge, "Number of requests currently running on GPU.", []string{"model_name"}, nil, inGateways, "vLLM"},
	{"vllm:num_requests_waiting", Gauge, "Number of requests waiting to be processed.", []string{"model_name"}, nil, inGateways, "vLLM"},
	{"vllm:kv_cache_usage_perc", Gauge, "KV-cache usage. 1 means 100 percent usage.", []string{"model_name"}, nil, inLeader, "vLLM"},
	{"vllm:gpu_cache_usage_perc", Gauge, "KV-cache usage by its older name. 1 means 100 percent usage.", []string{"model_name"}, nil, inLeader, "vLLM"},
	{"vllm:time_to_first_token_seconds", HistogramKind, "Time to first token in seconds.", []string{"model_name"}, firstBounds, inGateways, "vLLM"},
}
