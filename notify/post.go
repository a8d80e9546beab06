package notify

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/skein-project/skein/alert"
)

// Post sends a body that is no incident to a URL, signed as a webhook is, and waits for the outcome, for Timeout at most. id is the same
// whenever the same is told again.
func (s *Sender) Post(ctx context.Context, target, id string, body, secret []byte) alert.Sent {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return alert.Sent{ID: id, Failed: "its URL is not valid", Permanent: true}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Skein")
	req.Header.Set(idHeader, id)
	seconds := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set(signatureHeader, "t="+seconds+",v1="+hex.EncodeToString(mac(secret, seconds, body)))
	res, err := s.Client.Do(req)
	if err != nil {
		return alert.Sent{ID: id, Failed: s.words(ctx, err), Permanent: s.Refused(err)}
	}
	defer res.Body.Close()
	sent := judge(res)
	sent.ID = id
	return sent
}
