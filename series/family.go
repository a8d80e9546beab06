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

// Family is a kind of measurement.
type Family struct {
	Name   string
	Kind   Kind
	Labels []string // that its series may have, sorted
	Help   string   // with its unit
}

// Prometheus is the name that the family has in Prometheus: durations are in seconds there.
func (f Family) Prometheus() string {
	if f.Kind == Durations {
		return f.Name + "_seconds"
	}
	return f.Name
}

var (
	ofRequest = []string{"gateway", "model", "outcome", "tenant", "version"}
	ofVersion = []string{"gateway", "model", "tenant", "version"}
	ofDevice  = []string{"Hostname", "UUID", "gpu", "modelName"} // as dcgm-exporter has them
)

// Families lists everything that is measured, by name. Telemetry exports the same names and labels, and rules may ask for no others.
var Families = []Family{
	{"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", Gauge, ofDevice, "double-bit memory errors since the driver was loaded"},
	{"DCGM_FI_DEV_FB_FREE", Gauge, ofDevice, "free device memory, MiB"},
	{"DCGM_FI_DEV_FB_USED", Gauge, ofDevice, "used device memory, MiB"},
	{"DCGM_FI_DEV_GPU_TEMP", Gauge, ofDevice, "temperature, °C"},
	{"DCGM_FI_DEV_GPU_UTIL", Gauge, ofDevice, "utilisation, percent"},
	{"DCGM_FI_DEV_POWER_USAGE", Gauge, ofDevice, "power, W"},
	{"DCGM_FI_DEV_XID_ERRORS", Gauge, ofDevice, "number of the last XID error, 0 without one"},
	{"gen_ai_server_request_duration", Durations, ofRequest, "time of a request until its end"},
	{"gen_ai_server_time_per_output_token", Durations, ofVersion, "time of a token after the first"},
	{"gen_ai_server_time_to_first_token", Durations, ofVersion, "time until the first token"},
	{"skein_certificate_seconds_left", Gauge, []string{"id", "role"}, "time until a certificate ends, s"},
	{"skein_device_failed", Gauge, ofDevice, "1 while a device is failed or quarantined, else 0"},
	{"skein_disk_free_bytes", Gauge, []string{"node", "path"}, "free bytes of a file system that Skein writes to"},
	{"skein_disk_free_ratio", Gauge, []string{"node", "path"}, "free share of a file system that Skein writes to, 0 to 1"},
	{"skein_gateway_silent_seconds", Gauge, []string{"gateway"}, "time since a gateway last reported, s"},
	{"skein_node_lost", Gauge, []string{"node"}, "1 while a node is lost, else 0"},
	{"skein_node_silent_seconds", Gauge, []string{"node"}, "time since a node last reported, s"},
	{"skein_queue_waiting", Gauge, ofVersion, "requests that wait"},
	{"skein_quota_used_ratio", Gauge, []string{"id", "meter", "model", "tenant", "window"}, "used share of a limit, 0 to 1"},
	{"skein_raft_apply_lag_entries", Gauge, []string{"coordinator"}, "committed entries that a coordinator has not applied"},
	{"skein_raft_has_leader", Gauge, nil, "1 while a leader is known, else 0"},
	{"skein_raft_leader_changes_total", Counter, nil, "elections won"},
	{"skein_raft_voters", Gauge, nil, "voters of the configuration"},
	{"skein_raft_voters_spare", Gauge, nil, "healthy voters beyond the majority"},
	{"skein_replicas_missing", Gauge, []string{"model", "version"}, "replicas wanted that are not ready"},
	{"skein_replicas_ready", Gauge, []string{"model", "version"}, "replicas that are ready"},
	{"skein_replicas_unplaced", Gauge, []string{"model", "version"}, "replicas wanted that have no place, or whose load is refused"},
	{"skein_requests_running", Gauge, ofVersion, "requests that run"},
	{"skein_requests_total", Counter, ofRequest, "requests that ended; outcome is ok, error, refused or cancelled"},
	{"skein_tokens_total", Counter, []string{"gateway", "model", "tenant", "type", "version"}, "tokens; type is input or output"},
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
