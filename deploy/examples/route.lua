-- Orthanc: sends every stable series that dosimetry needs to the node. Two guards against a loop: the modality
-- (the node's RTDOSE never matches), and the sender (the node's reports are SR as well).
local wanted = { NM = true, PT = true, CT = true, RTSTRUCT = true, SEG = true, SR = true }

function OnStableSeries(seriesId, tags, metadata)
  local sender = metadata['RemoteAET'] or ''
  if wanted[tags['Modality']] and sender ~= 'DICOMNODE_OUT' then
    local job = { Resources = { seriesId }, Synchronous = false }
    RestApiPost('/modalities/node/store', DumpJson(job))
  end
end
