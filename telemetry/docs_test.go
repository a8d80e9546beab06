package telemetry

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skein-project/skein/internal/golden"
)

const page = `# Metrics, traces and logs

This page is written by the test of package telemetry from its table of names (` + "`go test ./telemetry -run Documentation -rewrite`" + `).

## Scraping

Coordinators with a client API, and gateways, answer ` + "`GET /metrics`" + ` for keys that may read metrics. Every one of them is to be scraped; the GPUs of
all nodes are on the coordinator that leads. A node has no client API: ` + "`metrics_listen`" + ` opens a port of its own, off by default, for whoever
presents the token in ` + "`metrics_token_file`" + ` (16 bytes or more, readable by its owner alone). Beyond loopback it needs ` + "`api_cert` and `api_key`" + `.

` + "```yaml" + `
scrape_configs:
  - job_name: skein
    scheme: https
    authorization: {credentials_file: /etc/prometheus/skein.key}
    static_configs: [{targets: [c1:8443, c2:8443, c3:8443, gateway1:8443]}]
  - job_name: skein-nodes
    scheme: https
    authorization: {credentials_file: /etc/prometheus/skein-node.token}
    static_configs: [{targets: [node1:9400, node2:9400]}]
` + "```" + `

` + "`/metrics?compat=vllm`" + ` gives the names of vLLM alone, for autoscalers and dashboards that know those; ` + "`model_name`" + ` is the version.
` + "`/debug/pprof/`" + ` is there with the setting ` + "`debug`" + `, for keys that may read metrics; the command line is not among it.

Labels come from what the cluster knows (versions, aliases, tenants), never from the text of a request. A metric has at most %d series in one
answer; what is beyond is added up under the label value ` + "`other`, and counted by `skein_metrics_folded_series`" + `.

## Metrics

%s
## vLLM's names

%s
## Traces

With ` + "`trace_endpoint`" + ` (OTLP over HTTP) set on gateways, coordinators and nodes, a request is one trace: ` + "`chat MODEL`" + ` at the gateway, an ` + "`attempt`" + ` per replica that
was asked, ` + "`head`" + ` at its first stage with ` + "`queue`, `prefill` and `decode`" + ` below it, and a ` + "`stage`" + ` for each forward step on each stage (all of a prefill, the first
steps of the decoding). ` + "`trace_ratio`" + ` is the share of requests that are traced if the client does not say; a ` + "`traceparent`" + ` (W3C Trace Context) of the client is
continued and its decision followed. ` + "`OTEL_EXPORTER_OTLP_HEADERS`" + ` in the environment is sent with the spans. Spans hold ids, counts and names of models; no text of a request or of an answer, and no key.

## Logs

Logs go to standard error, as JSON, or as text on a terminal (` + "`log_format`, `log_level`" + `). A gateway writes one line ` + "`request`" + ` per request at the level
` + "`request_log`" + ` (info, debug or off): its id (` + "`x-request-id`" + ` of the request if it is 1 to 128 of the characters A-Z a-z 0-9 . _ -, else a new one), the tenant, the visible id of
the key, the operation, model and version, how it ended, tokens and times. Neither prompts nor answers nor keys are in it.
`

func TestDocumentation(t *testing.T) {
	golden.Equal(t, filepath.Join("..", "docs", "metrics.md"), fmt.Sprintf(page, MaxSeries, rows(Metrics), rows(Aliases)))
}

// rows makes a table of metrics.
func rows(list []Metric) string {
	var b strings.Builder
	b.WriteString("| name | kind | labels | what | where | defined by |\n|---|---|---|---|---|---|\n")
	for _, m := range list {
		labels := strings.Join(m.Labels, "`, `")
		if labels != "" {
			labels = "`" + labels + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", m.Name, m.Kind, labels, m.Help, m.From, m.Source)
	}
	return b.String()
}
