package series

import "slices"

// Kind is how the values of a family behave.
type Kind uint8

// The kinds.
const (
	Gauge     Kind = iota + 1 // a value that goes up and down
	Counter                   // a number of events, put as increments
	Durations                 // a Histogram of durations
)

func (k Kind) String() string {
	return [...]string{"", "gauge", "counter", "histogram"}[k]
}

// Family is a kind of measurement. Its name is the one that Prometheus scrapes.
type Family struct {
	Name   string
	Kind   Kind
	Labels []Column // that its series may have, sorted
	Help   string   // with its unit
}

// Column is a label of a family.
type Column struct {
	Name string
	As   string // in Prometheus, where it differs
}

// Exported is the label's name in Prometheus.
func (c Column) Exported() string {
	if c.As != "" {
		return c.As
	}
	return c.Name
}

// Column finds a label of the family.
func (f Family) Column(name string) (Column, bool) {
	i := slices.IndexFunc(f.Labels, func(c Column) bool { return c.Name == name })
	if i < 0 {
		return Column{}, false
	}
	return f.Labels[i], true
}

// Outcomes are the values of the label outcome, and those that stand for each in Prometheus, where faults have names of their own.
var Outcomes = []struct {
	Name     string
	Exported []string
}{
	{"ok", []string{"ok"}},
	{"failed", []string{"internal", "unavailable", "timeout"}},
	{"refused", []string{"busy"}},
	{"limited", []string{"limit", "quota"}},
	{"other", []string{"invalid", "context", "key", "model", "task", "canceled", "too_large", "permission", "other"}},
}

// Labels of families. What a program says of itself is the scraped instance in Prometheus.
var (
	ofDevice  = []Column{{Name: "Hostname"}, {Name: "UUID"}, {Name: "gpu"}, {Name: "modelName"}} // as dcgm-exporter has them
	ofHealth  = []Column{{Name: "Hostname"}, {Name: "UUID"}}
	ofGenAI   = []Column{{Name: "version", As: "gen_ai_response_model"}}
	ofFlow    = []Column{{Name: "gateway", As: "instance"}, {Name: "version"}}
	ofVersion = []Column{{Name: "version"}}
	ofNode    = []Column{{Name: "node"}}
	ofLimit   = []Column{{Name: "limit"}, {Name: "meter"}, {Name: "model"}, {Name: "tenant"}, {Name: "window"}}
	ofTenant  = []Column{{Name: "tenant"}}
	ofSpool   = []Column{{Name: "gateway", As: "instance"}}
	ofDisk    = []Column{{Name: "node", As: "instance"}}
)

// Families lists everything that is measured, by name. Rules may ask for nothing else.
var Families = []Family{
	{"DCGM_FI_DEV_FB_FREE", Gauge, ofDevice, "free device memory, MiB"},
	{"DCGM_FI_DEV_FB_USED", Gauge, ofDevice, "used device memory, MiB"},
	{"DCGM_FI_DEV_GPU_TEMP", Gauge, ofDevice, "temperature, °C"},
	{"DCGM_FI_DEV_GPU_UTIL", Gauge, ofDevice, "utilisation, percent"},
	{"DCGM_FI_DEV_POWER_USAGE", Gauge, ofDevice, "power, W"},
	{"DCGM_FI_DEV_XID_ERRORS", Gauge, ofDevice, "number of the last XID error, 0 without one"},
	{"gen_ai_server_request_duration_seconds", Durations, ofGenAI, "time of requests until their end"},
	{"gen_ai_server_time_per_output_token_seconds", Durations, ofGenAI, "mean time between the tokens of answers"},
	{"gen_ai_server_time_to_first_token_seconds", Durations, ofGenAI, "time until the first token of answers"},
	{"skein_batch_callbacks_given_up_total", Counter, ofTenant, "batches that nobody could be told of when they were over"},
	{"skein_batch_oldest_seconds", Gauge, ofTenant, "time since the oldest batch that is not over began, s"},
	{"skein_batch_still_seconds", Gauge, ofTenant, "time since any batch moved, of a tenant that has some that are not over, s"},
	{"skein_batches", Gauge, []Column{{Name: "state"}, {Name: "tenant"}}, "batches that are not over; state is waiting or running"},
	{"skein_certificate_left_seconds", Gauge, []Column{{Name: "member", As: "instance"}}, "time until a member's certificate ends, s"},
	{"skein_disk_free_bytes", Gauge, ofDisk, "free bytes of the file system of the data directory"},
	{"skein_disk_free_ratio", Gauge, ofDisk, "free share of the file system of the data directory, 0 to 1"},
	{"skein_gateway_requests_total", Counter, []Column{{Name: "outcome"}, {Name: "tenant"}, {Name: "version"}}, "requests that ended; outcome is one of Outcomes"},
	{"skein_gateway_results_dropped_total", Counter, ofSpool, "records of requests that were lost on their way to the results database"},
	{"skein_gateway_results_spool_ratio", Gauge, ofSpool, "used share of the room for records of requests on a gateway's disk, 0 to 1"},
	{"skein_gateway_running_requests", Gauge, ofFlow, "requests at replicas"},
	{"skein_gateway_silent_seconds", Gauge, []Column{{Name: "gateway"}}, "time since a gateway was last heard, s"},
	{"skein_gateway_tokens_total", Counter, []Column{{Name: "tenant"}, {Name: "type"}, {Name: "version"}}, "tokens; type is input or output"},
	{"skein_gateway_waiting_requests", Gauge, ofFlow, "requests that wait for a replica"},
	{"skein_gpu_healthy", Gauge, ofHealth, "1 if work may be placed on the device, else 0"},
	{"skein_node_lost", Gauge, ofNode, "1 while a node is lost, else 0"},
	{"skein_node_silent_seconds", Gauge, ofNode, "time since a node last reported, s"},
	{"skein_quota_left_seconds", Gauge, ofLimit, "time until the day or month of a limit ends, s"},
	{"skein_quota_spent_ppm_total", Counter, ofLimit, "what is spent of a limit, millionths of its amount"},
	{"skein_quota_used_ratio", Gauge, ofLimit, "used share of a limit, 0 to 1"},
	{"skein_raft_apply_lag_entries", Gauge, []Column{{Name: "coordinator"}}, "committed entries that a coordinator has not applied"},
	{"skein_raft_leader_changes_total", Counter, nil, "changes of the leader"},
	{"skein_raft_voters", Gauge, nil, "voters of the configuration"},
	{"skein_raft_voters_spare", Gauge, nil, "voters that answer, beyond the majority"},
	{"skein_replicas_ready", Gauge, ofVersion, "replicas that take requests"},
	{"skein_replicas_wanted", Gauge, ofVersion, "replicas that a version should have"},
	{"skein_version_copies", Gauge, ofVersion, "coordinators that answer and have all blobs of a version"},
	{"skein_version_copies_wanted", Gauge, ofVersion, "coordinators that should; 0 for a version that is in a bucket"},
}

// FamilyOf finds a family by its name.
func FamilyOf(name string) (Family, bool) {
	i, ok := slices.BinarySearchFunc(Families, name, func(f Family, n string) int {
		switch {
		case f.Name < n:
			return -1
		case f.Name > n:
			return 1
		}
		return 0
	})
	if !ok {
		return Family{}, false
	}
	return Families[i], true
}
