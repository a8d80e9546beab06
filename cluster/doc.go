// Package cluster is the replicated truth: nodes, models, versions, aliases, keys, deployments, replicas.
package cluster
