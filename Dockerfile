FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.12-slim
# Volumes begin with the owner of the folder they cover.
RUN useradd --create-home --uid 10001 cpa \
    && install -d -o cpa -g cpa -m 700 /home/cpa/.cli-proxy-api /home/cpa/state /home/cpa/config
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels cpa && rm -rf /wheels
USER cpa
WORKDIR /home/cpa
ENV WRITABLE_PATH=/home/cpa/state CPA_USAGE_DATABASE_PATH=/home/cpa/state/usage.sqlite
EXPOSE 8317
HEALTHCHECK --interval=30s --timeout=3s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8317/healthz', timeout=2)"]
ENTRYPOINT ["cpa"]
CMD ["serve", "--config", "/home/cpa/config/config.yaml"]
