"""One hop of Python's gRPC: a server in a process of its own streams 64 KiB messages of bytes, a client counts them.

    grpc_stream.py MEBIBYTES    prints MiB per second
"""

import multiprocessing
import sys
import time
from concurrent import futures

import grpc

BLOCK = 64 * 1024
METHOD = "/bench.Stream/Read"


def serve(pipe, count):
    block = bytes(BLOCK)

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            if details.method != METHOD:
                return None
            return grpc.unary_stream_rpc_method_handler(lambda request, context: (block for _ in range(count)))

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    pipe.send(port)
    pipe.recv()
    server.stop(None)


def main():
    count = int(sys.argv[1]) * 1024 * 1024 // BLOCK
    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, count))
    server.start()
    port = here.recv()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        begun = time.monotonic()
        got = sum(len(block) for block in channel.unary_stream(METHOD)(b""))
        took = time.monotonic() - begun
    here.send(None)
    server.join()
    print(got / 1024 / 1024 / took)


if __name__ == "__main__":
    main()
