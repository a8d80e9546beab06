package results

import (
	"net/url"
	"strconv"
	"time"
)

// Folder is where the objects of records like this one are in a bucket, with a slash at its end: by tenant, model, version and day.
func Folder(r Record) string {
	return "results/tenant=" + url.QueryEscape(r.Tenant) + "/model=" + url.QueryEscape(r.Model) + "/version=" + strconv.Itoa(r.Version) + "/day=" + time.UnixMilli(r.At).UTC().Format(time.DateOnly) + "/"
}
