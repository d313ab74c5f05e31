{{- define "tvarr.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tvarr.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tvarr.labels" -}}
{{ include "tvarr.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* And what the selectors of Prometheus' operator and of Grafana ask for. */ -}}
{{- define "tvarr.monitoringLabels" -}}
{{ merge (deepCopy .Values.monitoring.labels) (include "tvarr.labels" . | fromYaml) | toYaml }}
{{- end -}}

{{- /* Whether KEDA asks for any class of workers. */ -}}
{{- define "tvarr.scaled" -}}
{{- range .Values.classes }}{{ if (mergeOverwrite (deepCopy $.Values.workers) (deepCopy .)).autoscale }}yes{{ end }}{{ end -}}
{{- end -}}

{{- define "tvarr.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "tvarr.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "tvarr.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- /* The pod of one class of workers: root, name, class. */ -}}
{{- define "tvarr.workerPod" -}}
{{- $root := .root -}}
{{- $class := .class -}}
{{- $job := eq ($class.kind | default "Deployment") "Job" -}}
metadata:
  labels:
    {{- include "tvarr.selector" $root | nindent 4 }}
    app.kubernetes.io/component: worker
    tvarr/class: {{ .name }}
  {{- with $class.podAnnotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  restartPolicy: {{ $job | ternary "OnFailure" "Always" }}
  terminationGracePeriodSeconds: {{ add $class.drainTimeoutSeconds 30 }}
  securityContext: {{ merge (deepCopy $class.podSecurityContext) (include "tvarr.podSecurity" $root | fromYaml) | toYaml | nindent 4 }}
  {{- with $class.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets: {{ toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: ffmpegd
      image: "{{ $class.image.repository }}:{{ $class.image.tag | default $root.Chart.AppVersion }}"
      imagePullPolicy: {{ $class.image.pullPolicy }}
      securityContext: {{ include "tvarr.containerSecurity" $root | nindent 8 }}
      env:
        - name: TVARR_COORDINATOR_URL
          value: {{ $class.coordinatorUrl | default (printf "http://%s:%v" (include "tvarr.fullname" $root) $root.Values.coordinator.service.grpcPort) | quote }}
        - name: TVARR_AUTH_TOKEN_FILE
          value: /token/{{ $root.Values.coordinator.token.key }}
        - name: TVARR_DRAIN_TIMEOUT
          value: {{ printf "%vs" $class.drainTimeoutSeconds | quote }}
        - name: TVARR_WORKER_NAME
          valueFrom: { fieldRef: { fieldPath: metadata.name } }
        {{- if $job }}
        - name: TVARR_EXIT_WHEN_IDLE
          value: "true"
        {{- end }}
        {{- include "tvarr.env" $class.env | nindent 8 }}
      {{- with $class.envFrom }}
      envFrom: {{ toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - { name: metrics, containerPort: 9091, protocol: TCP }
      # It answers once it has probed its machine. What it runs goes on without a connection, so that ends nothing.
      startupProbe:
        httpGet: { path: /healthz, port: metrics }
        periodSeconds: 5
        failureThreshold: 60
      livenessProbe:
        httpGet: { path: /healthz, port: metrics }
        periodSeconds: 20
        timeoutSeconds: 5
        failureThreshold: 6
      {{- if not $job }}
      # Connected to the coordinator.
      readinessProbe:
        httpGet: { path: /readyz, port: metrics }
        periodSeconds: 10
      {{- end }}
      {{- with $class.resources }}
      resources: {{ toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - { name: state, mountPath: /var/lib/ffmpegd }
        - { name: tmp, mountPath: /tmp }
        - { name: token, mountPath: /token, readOnly: true }
  volumes:
    - name: state
      emptyDir: { sizeLimit: {{ $class.scratchSize | quote }} }
    - name: tmp
      emptyDir: { sizeLimit: 64Mi }
    - name: token
      secret:
        secretName: {{ $root.Values.coordinator.token.existingSecret }}
        items: [{ key: {{ $root.Values.coordinator.token.key }}, path: {{ $root.Values.coordinator.token.key }} }]
  {{- with $class.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $class.tolerations }}
  tolerations: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- with $class.affinity }}
  affinity: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
