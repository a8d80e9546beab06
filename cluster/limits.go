package cluster

import (
	"strings"
	"unicode/utf8"

	"github.com/skein-project/skein/gpu"
	"github.com/skein-project/skein/quota"
	"github.com/skein-project/skein/shard"
)

// Limits of the state. Apply enforces them, so they are part of the replicated arithmetic: changing one needs a new feature level,
// or an old and a new coordinator would disagree about the same entry.
const (
	MaxName     = 128  // characters of a name of a model, alias, node, member or key
	MaxID       = 64   // characters of a node, cluster or key id
	MaxDeviceID = 128  // characters
	MaxAddr     = 256  // characters of an address
	MaxWhy      = 512  // characters of a reason; longer ones are cut
	MaxSecret   = 8192 // bytes of the CA certificate, of its sealed key, and characters of a hash

	MaxTxns     = 1024 // transactions of an entry
	MaxCommands = 256  // commands of a transaction

	MaxMembers     = 256     // coordinators and gateways
	MaxNodes       = 16384   // nodes of a cluster
	MaxDevices     = 64      // devices of a node
	MaxTokens      = 16384   // join tokens
	MaxKeys        = 65536   // API keys
	MaxVersions    = 65536   // versions of all models together
	MaxAliases     = 65536   // aliases
	MaxDeployments = 16384   // deployments
	MaxHistory     = 32      // earlier targets of an alias
	MaxReplicas    = 1024    // replicas of a deployment; also bounds their ordinals
	MaxAllReplicas = 65536   // replicas of a cluster
	MaxStages      = 64      // stages of a replica
	MaxPins        = 4096    // pins of a deployment
	MaxAvoid       = 4096    // devices, and nodes, that a deployment avoids
	MaxTasks       = 16      // tasks of a version
	MaxLayers      = 4096    // blocks of a model
	MaxWidth       = 1 << 24 // hidden size, inner size, vocabulary and positions of a model

	MaxTenants   = 16384         // tenants
	MaxApps      = 65536         // applications of all tenants together
	MaxGrants    = 1024          // patterns of models of a tenant, application or key
	MaxSources   = 64            // networks that an application may call from
	MaxRoles     = 8             // roles of a key
	MaxWeight    = 1000          // of a tenant in the fair share
	MaxLimitSets = 262144        // subjects with limits
	MaxLimits    = 64            // limits of a subject
	MaxAsks      = quota.MaxAsks // limits that one settlement asks about
	MaxUsed      = 4096          // rows of usage in one settlement
	MaxAmount    = 1 << 50       // of anything in one row of usage
	MaxModels    = 65536         // model records
	MaxTags      = 32            // tags, and labels, of a model
	MaxText      = 4096          // characters of a description
	MaxDocuments = 65536         // documents of all kinds together
	MaxDocument  = 16384         // bytes of a document
	MaxStands    = 1 << 40       // bytes that a document stands for
	MaxTenantsOf = 256           // tenants that a rollout names
	MaxGone      = 65536         // removed members that are remembered

	MaxQuarantines     = 65536   // devices and nodes under quarantine
	MaxRefusals        = 64      // rows of refused calls in one note
	MaxNotedConditions = 64      // on the records of requests, in one note
	MaxRetire          = 1 << 25 // seconds that a version is served after a flip before it is retired

	MaxSlots = shard.MaxSlots // sequences at once on a replica

	TokenKept = 24 * 60 * 60 * 1000 // milliseconds that an expired join token stays visible
)

// Feature is the highest feature level that this program understands. A cluster whose committed level is higher needs a newer one.
const Feature = 3

// ValidName says whether a text may name a model or an alias: segments of letters, digits, '.', '_' and '-' that start with a letter
// or digit, joined by '/', at most MaxName characters. '@' separates the version number and is no part of a name.
func ValidName(s string) bool {
	if len(s) > MaxName {
		return false
	}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "" || !isAlnum(segment[0]) || strings.ContainsFunc(segment, func(r rune) bool {
			return r >= utf8.RuneSelf || !isAlnum(byte(r)) && r != '.' && r != '_' && r != '-'
		}) {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func validID(s string) bool { return ValidName(s) && len(s) <= MaxID && !strings.Contains(s, "/") }

// visible says that a text is 1 to limit printable ASCII characters without spaces: device ids, addresses, hashes.
func visible(s string, limit int) bool {
	return s != "" && len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func validDevice(d gpu.DeviceID) bool { return visible(string(d), MaxDeviceID) }

// label says that a text for people is not too long; it may be empty.
func label(s string) bool { return utf8.RuneCountInString(s) <= MaxName }

// clip cuts a reason to MaxWhy characters: a wordy reason must not cost a command its effect.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= MaxWhy {
		return s
	}
	return string([]rune(s)[:MaxWhy-1]) + "…"
}
