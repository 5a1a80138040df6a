-- Orthanc: send every stable series that dosimetry needs to the node. The filter on Modality is also the
-- guard against a loop: the node's RTDOSE never matches.
local wanted = { NM = true, PT = true, CT = true, RTSTRUCT = true, SEG = true, SR = true }

function OnStableSeries(seriesId, tags, metadata)
  if wanted[tags['Modality']] and metadata['RemoteAET'] ~= 'DICOMNODE' then
    local job = { Resources = { seriesId }, Synchronous = false }
    RestApiPost('/modalities/node/store', DumpJson(job))
  end
end
