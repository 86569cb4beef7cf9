// What the page asks, exactly as an integrator may copy it. Each is valid against the schema; a test holds them to it.

export const CLUSTERS = `query MapClusters($box: BoundingBoxInput!, $zoom: Int!, $filter: StationFilterInput) {
  stationClusters(box: $box, zoom: $zoom, filter: $filter, datum: WGS84) {
    count
    available
    stationId
    location(datum: WGS84) { lon lat }
    tile { x y z }
  }
}
`;

const RESERVATION = `id state live guarantee expiresAt serverTime ttlS evseId
  station { id name }
  evse { id localId name physicalReference }`;

const SHOWN = `id name address openNow
  operator { name }
  location(datum: WGS84) { lon lat }
  availability { available total unknown stale asOf }`;

export const STATIONS = `query MapStations($box: BoundingBoxInput!, $filter: StationFilterInput) {
  stationsInArea(box: $box, first: 100, filter: $filter, datum: WGS84) {
    totalCount
    edges { node { ...Shown } }
  }
}

fragment Shown on Station {
  ${SHOWN}
}
`;

export const LIVE = `subscription MapLive($box: BoundingBoxInput!, $filter: StationFilterInput) {
  availabilityChanged(box: $box, filter: $filter, datum: WGS84) {
    at
    resynced
    more
    changes { kind stationId station { ...Shown } }
  }
}

fragment Shown on Station {
  ${SHOWN}
}
`;

export const LIVE_CLUSTERS = `subscription MapNews($box: BoundingBoxInput!, $filter: StationFilterInput) {
  availabilityChanged(box: $box, filter: $filter, datum: WGS84) {
    at
    resynced
    more
    changes { kind stationId }
  }
}
`;

export const STATION = `query OneStation($id: ID!) {
  station(id: $id) {
    id name address openNow access presence phones
    operator { name phone website }
    location(datum: WGS84) { lon lat }
    openingHours { alwaysOpen raw }
    fees { electricity service parking }
    dataRights { attribution licence }
    availability { available total unknown stale asOf }
    evses {
      id localId name physicalReference
      status statusAgeS statusStale lastKnownStatus heldByMe
      connectors { id type maxPowerKw }
    }
  }
}
`;

export const HOLD = `mutation Hold($input: ReserveEvseInput!) {
  reserveEvse(input: $input) {
    reservation { ...Kept }
    replayed
    userErrors { code message field }
  }
}

fragment Kept on Reservation {
  ${RESERVATION}
}
`;

export const CANCEL = `mutation LetGo($input: CancelReservationInput!) {
  cancelReservation(input: $input) {
    reservation { id state live evseId }
    replayed
    userErrors { code message field }
  }
}
`;

export const HOLDS = `query MyHolds {
  reservations(first: 20, liveOnly: true) {
    edges { node { ...Kept } }
  }
}

fragment Kept on Reservation {
  ${RESERVATION}
}
`;
