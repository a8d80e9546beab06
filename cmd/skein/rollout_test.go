package main

import (
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
)

func TestRolloutFlags(t *testing.T) {
	for what, c := range map[string]struct {
		flags   rolloutFlags
		given   []string
		version string
		want    *adminv1.SetRolloutRequest // nil: refused as wrong usage
	}{
		"canary": {rolloutFlags{canary: "5%"}, []string{"canary"}, "calc@2", &adminv1.SetRolloutRequest{Alias: "calc",
			Rollout: &adminv1.Rollout{Canary: &adminv1.Canary{Version: "calc@2", Percent: 5}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"canary"}}}},
		"all": {rolloutFlags{alias: "sums", canary: "7", tenants: []string{"a", "b"}, shadow: "10%", guard: "errors=5%, p95=2s,parity=95,requests=50,window=1m", retire: 10 * time.Minute, force: true, accept: true},
			[]string{"canary", "tenants", "shadow", "guard", "retire-after"}, "calc@2", &adminv1.SetRolloutRequest{Alias: "sums", Force: true, Accept: true,
				Rollout: &adminv1.Rollout{Canary: &adminv1.Canary{Version: "calc@2", Percent: 7, Tenants: []string{"a", "b"}}, Shadow: &adminv1.Shadow{Version: "calc@2", Percent: 10},
					Guard: &adminv1.Guard{ErrorPercent: 5, P95Ms: 2000, ParityPercent: 95, Requests: 50, WindowS: 60}, RetireAfterS: 600},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"canary", "shadow", "guard", "retire_after_s"}}}},
		"shadow and guard end": {rolloutFlags{shadow: "0%", guard: "none"}, []string{"shadow", "guard"}, "calc@2", &adminv1.SetRolloutRequest{Alias: "calc",
			Rollout: &adminv1.Rollout{}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"shadow", "guard"}}}},
		"nothing said":  {rolloutFlags{}, nil, "calc@2", nil},
		"no version":    {rolloutFlags{canary: "5%"}, []string{"canary"}, "calc", nil},
		"a fraction":    {rolloutFlags{canary: "0.5%"}, []string{"canary"}, "calc@2", nil},
		"too much":      {rolloutFlags{shadow: "101%"}, []string{"shadow"}, "calc@2", nil},
		"unknown guard": {rolloutFlags{guard: "error=5%"}, []string{"guard"}, "calc@2", nil},
		"guard's time":  {rolloutFlags{guard: "p95=2"}, []string{"guard"}, "calc@2", nil},
		"empty guard":   {rolloutFlags{guard: ""}, []string{"guard"}, "calc@2", nil},
	} {
		got, err := c.flags.request(func(name string) bool { return slices.Contains(c.given, name) }, c.version)
		var wrong usageError
		switch {
		case c.want == nil && !errors.As(err, &wrong):
			t.Errorf("%s: %v, %v, want wrong usage", what, got, err)
		case c.want != nil && (err != nil || !proto.Equal(got, c.want)):
			t.Errorf("%s: %v, %v, want %v", what, got, err, c.want)
		}
	}
}

func TestRolloutWords(t *testing.T) {
	for want, r := range map[string]*adminv1.Rollout{
		"": nil,
		", canary calc@2 5% and all of a,b, shadow calc@3 10%, guard errors=5% p95=2s of 50 in 60 s, follows the newest version that answers, the version before is retired after 10m0s": {
			Canary: &adminv1.Canary{Version: "calc@2", Percent: 5, Tenants: []string{"a", "b"}}, Shadow: &adminv1.Shadow{Version: "calc@3", Percent: 10},
			Guard: &adminv1.Guard{ErrorPercent: 5, P95Ms: 2000, Requests: 50, WindowS: 60}, Follow: true, RetireAfterS: 600},
	} {
		if got := rolloutWords(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
