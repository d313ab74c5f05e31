"""Offers MPEG-TS over HTTP by RTSP: `rtsp_server.py URL PORT`. Says `client` for each connection.

`rtsp_server.py --check` fails where something for it is missing.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

# No picture is made anew: the source's frames, in packets of RTP.
PIPELINE = """(
  souphttpsrc location={url} is-live=true do-timestamp=true ! tsdemux name=demux
  demux. ! queue ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96
  demux. ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97
)"""

Gst.init(None)
if sys.argv[1:] == ["--check"]:
    elements = "souphttpsrc tsdemux h264parse rtph264pay aacparse rtpmp4gpay rtpbin"
    sys.exit(not all(Gst.ElementFactory.find(name) for name in elements.split()))
url, port = sys.argv[1:]
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(PIPELINE.format(url=url))
factory.set_shared(True)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
server.get_mount_points().add_factory("/channel", factory)
server.connect("client-connected", lambda *_: print("client", flush=True))
if not server.attach(None):
    sys.exit(f"cannot listen on port {port}")
GLib.MainLoop().run()
