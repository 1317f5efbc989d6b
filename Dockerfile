# docker build -t tcptrace-fsm .
# docker run --rm -v "$PWD:/data" tcptrace-fsm analyze capture.pcap
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.12-slim
COPY --from=build /wheels /wheels
# With [filter], --filter works. Without the compiled kernels the image would be 60 times slower: better none.
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[filter]" && tcptrace-fsm --version | grep 'kernels compiled'
USER nobody
WORKDIR /data
ENTRYPOINT ["tcptrace-fsm"]
CMD ["--help"]
