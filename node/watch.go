package node

import (
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/node/worker"
	"github.com/skein-project/skein/telemetry"
)

// Collect gives the node's figures: its devices, what it holds, and what its workers have done.
func (s *Server) Collect(sheet *telemetry.Sheet) {
	telemetry.Member(sheet, s.cfg.Dir, s.creds.Ends())
	sheet.Count(telemetry.BlobsFetched, float64(s.fetched.Load()))
	sheet.Count(telemetry.BlobsServed, float64(s.served.Load()))
	if r, ok := s.link.newest(); ok {
		telemetry.GPUs(sheet, s.cfg.Name, r.Devices, r.Readings)
		for _, status := range []cluster.HeldStatus{cluster.HeldFetching, cluster.HeldLoading, cluster.HeldReady, cluster.HeldFailed, cluster.HeldLeaving} {
			n := 0
			for _, h := range r.Held {
				if h.Status == status {
					n++
				}
			}
			sheet.Gauge(telemetry.StagesHeld, float64(n), string(status))
		}
	}
	for _, p := range s.processes {
		p.collect(sheet)
	}
}

// collect gives what the worker has done.
func (p *process) collect(sheet *telemetry.Sheet) {
	p.mu.Lock()
	work, restarts := p.work, p.restarts
	p.mu.Unlock()
	device := string(p.device.ID)
	sheet.Count(telemetry.WorkerRestarts, float64(restarts), device)
	for _, kind := range worker.Kinds { // a worker may say anything: a model may have taken it over
		t, ok := work.Steps[kind]
		if !ok {
			continue
		}
		sheet.Count(telemetry.WorkerSteps, float64(t.Total()), device, kind)
		sheet.Histogram(telemetry.WorkerStep, t, device, kind)
	}
	if work.Rows.Total() > 0 {
		sheet.Histogram(telemetry.WorkerRows, work.Rows, device)
	}
}
